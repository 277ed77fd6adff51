"""Layer 2: data sets as arrays. A `DataConfig` goes in, a `Dataset` with fixed splits and normalisation comes out."""

from edgesearch.data.dataset import Dataset, Split
from edgesearch.data.registry import load_dataset, source_digest

__all__ = ["Dataset", "Split", "load_dataset", "source_digest"]
