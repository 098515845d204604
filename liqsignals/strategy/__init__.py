"""What a strategy calls."""
