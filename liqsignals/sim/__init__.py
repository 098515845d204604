"""Offline stand-ins for the outside world."""
