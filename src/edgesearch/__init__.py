"""edgesearch: tiny recurrent networks, trained, compressed and sized for small chips.

Names are imported on first use, so that `import edgesearch` itself costs nothing.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesearch.cells.cell import FastGRNNCell, FastRNNCell, GRUCell, LSTMCell, UGRNNCell
    from edgesearch.cells.classifier import Classifier
    from edgesearch.cells.edgeml import load_edgeml, save_edgeml, save_edgeml_bytes
    from edgesearch.cells.rnn import GRU, LSTM, UGRNN, FastGRNN, FastRNN
    from edgesearch.compress.quantizer import Quantizer
    from edgesearch.errors import EdgesearchError
    from edgesearch.numerics.program import IntegerProgram
    from edgesearch.training.three_phase import ThreePhase

__version__ = version("edgesearch")

_HOMES = {
    "edgesearch.cells.cell": ("FastGRNNCell", "FastRNNCell", "GRUCell", "LSTMCell", "UGRNNCell"),
    "edgesearch.cells.classifier": ("Classifier",),
    "edgesearch.cells.edgeml": ("load_edgeml", "save_edgeml", "save_edgeml_bytes"),
    "edgesearch.errors": ("EdgesearchError",),
    "edgesearch.cells.rnn": ("GRU", "LSTM", "UGRNN", "FastGRNN", "FastRNN"),
    "edgesearch.compress.quantizer": ("Quantizer",),
    "edgesearch.numerics.program": ("IntegerProgram",),
    "edgesearch.training.three_phase": ("ThreePhase",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "GRU",
    "LSTM",
    "UGRNN",
    "Classifier",
    "EdgesearchError",
    "FastGRNN",
    "FastGRNNCell",
    "FastRNN",
    "FastRNNCell",
    "GRUCell",
    "IntegerProgram",
    "LSTMCell",
    "Quantizer",
    "ThreePhase",
    "UGRNNCell",
    "__version__",
    "load_edgeml",
    "save_edgeml",
    "save_edgeml_bytes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("IntegerProgram", "Quantizer"):
        importlib.import_module("edgesearch.export")  # which makes targets known to programs
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
