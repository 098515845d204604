"""Pictures, built once: the command line and whatever shows them later call these."""
