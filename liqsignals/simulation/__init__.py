"""The built-in market: seeded, SIMULATED, with known positions."""
