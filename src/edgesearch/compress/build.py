"""From a classifier to its graph."""

from edgesearch.cells.classifier import AnyClassifier
from edgesearch.cells.conv import ConvClassifier
from edgesearch.compress.conv_graph import conv_graph
from edgesearch.compress.graph import Graph
from edgesearch.compress.rnn_graph import rnn_graph
from edgesearch.errors import ConfigError


def build_graph(model: AnyClassifier, steps: int) -> Graph:
    """Return the graph of a classifier on windows of `steps` raw frames.

    Raises:
        ConfigError: a layer that runs backwards, a nonlinearity without a name, or windows of another length.
    """
    if not isinstance(model, ConvClassifier):
        return rnn_graph(model, steps)
    if steps != model.spec.steps:
        raise ConfigError(f"the network takes windows of {model.spec.steps} frames, got {steps}; build it for them")
    return conv_graph(model)
