"""Real bots on replayed history: the market clock, sessions, paper trading, backtests and their parity."""
