"""Running a bot unattended: its start, its watcher, the kill switch."""
