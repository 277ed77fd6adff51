"""Layer 0: reading files that others made, without trust. What is wrong with one is a `DamagedError`, a reason."""
