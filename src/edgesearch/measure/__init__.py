"""Layer 7: what a model answers on data."""

from edgesearch.measure.evaluate import answers_of, evaluate

__all__ = ["answers_of", "evaluate"]
