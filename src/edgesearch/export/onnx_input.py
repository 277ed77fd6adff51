"""The input of an ONNX graph: raw frames, normalised in the type that keeps them, then float32."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation (D,) of raw frames, in the type that the frames come in."""

    mean: Values
    std: Values


@dataclass(frozen=True)
class GraphInput:
    """What begins a graph.

    Attributes:
        info: of the tensor `x`.
        frames: the name of the normalised frames, float32.
        nodes, initializers: what makes them.
    """

    info: Any
    frames: str
    nodes: list[Any]
    initializers: list[Any]


def graph_input(onnx: Any, shape: list[int | str], scaling: Scaling | None) -> GraphInput:
    """Return the input `x` of a shape, float64 where the scaling is; without scaling it is normalised already."""
    helper, kinds = onnx.helper, onnx.TensorProto
    if scaling is None:
        return GraphInput(helper.make_tensor_value_info("x", kinds.FLOAT, shape), "x", [], [])
    constants = {"mean": scaling.mean, "std": scaling.std}
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
    ]
    kind, frames = kinds.FLOAT, "normalised"
    if scaling.mean.dtype == np.float64:
        kind, frames = kinds.DOUBLE, "narrowed"
        nodes.append(helper.make_node("Cast", ["normalised"], [frames], to=kinds.FLOAT))
    info = helper.make_tensor_value_info("x", kind, shape)
    return GraphInput(info, frames, nodes, [onnx.numpy_helper.from_array(v, name) for name, v in constants.items()])
