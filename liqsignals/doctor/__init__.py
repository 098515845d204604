"""What is wrong with the data, and what only the exchanges know."""
