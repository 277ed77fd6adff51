"""Layer 10: search under a budget; no other package imports Optuna."""
