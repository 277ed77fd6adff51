"""Layer 3: what a model costs on the chip, in closed form from its spec."""

from edgesearch.budget.memory import check_memory, check_processes, memory_errors
from edgesearch.budget.size import edgeml_bytes, excess, model_size, over_budget
from edgesearch.budget.storage import FLOAT32, Size, Widths

__all__ = [
    "FLOAT32",
    "Size",
    "Widths",
    "check_memory",
    "check_processes",
    "edgeml_bytes",
    "excess",
    "memory_errors",
    "model_size",
    "over_budget",
]
