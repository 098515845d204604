"""Output: consoles, headline, tables and the validation report."""
