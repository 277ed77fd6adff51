"""Layer 3: what a model costs on the chip, in closed form from its spec."""

from edgesearch.budget.size import edgeml_bytes, excess, model_size, over_budget
from edgesearch.budget.storage import FLOAT32, Size, Widths

__all__ = ["FLOAT32", "Size", "Widths", "edgeml_bytes", "excess", "model_size", "over_budget"]
