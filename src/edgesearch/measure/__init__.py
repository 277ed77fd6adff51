"""Layer 7: what a model answers on data."""

from edgesearch.measure.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
