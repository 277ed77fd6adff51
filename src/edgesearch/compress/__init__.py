"""Layer 4: making a model smaller."""
