"""Layer 7: what a model answers on data."""

from edgesearch.measure.evaluate import Evaluation, confusion_of, evaluate

__all__ = ["Evaluation", "confusion_of", "evaluate"]
