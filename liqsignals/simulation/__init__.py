"""The embedded market: seeded, SIMULATED, with known positions."""
