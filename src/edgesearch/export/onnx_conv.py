"""A convolutional classifier as the operators of ONNX; batch normalisation is folded into the weights."""

from typing import Any

from torch import Tensor

from edgesearch.cells.conv import ConvClassifier, Stage
from edgesearch.export.onnx_input import Scaling, graph_input


def convolutional_graph(onnx: Any, model: ConvClassifier, scaling: Scaling | None) -> Any:
    """Return the graph of a model: `x` (T, B, D) with B free, raw if there is scaling, `logits` (B, C)."""
    return _Graph(onnx, model).proto(scaling)


class _Graph:
    def __init__(self, onnx: Any, model: ConvClassifier) -> None:
        self._onnx, self._model = onnx, model
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []

    def proto(self, scaling: Scaling | None) -> Any:
        helper, kind, spec = self._onnx.helper, self._onnx.TensorProto.FLOAT, self._model.spec
        given = graph_input(self._onnx, [spec.steps, "B", spec.input_size], scaling)
        self._nodes += given.nodes
        self._initializers += given.initializers
        windows = self._add("Transpose", given.frames, perm=[1, 0, 2])
        maps = self._add("Reshape", windows, self._shape("windows", (-1, 1, spec.steps, spec.input_size)))
        for stage in spec.stages:
            maps = self._stage(stage, maps)
        self._nodes.append(helper.make_node("Identity", [maps], ["logits"]))
        found = helper.make_tensor_value_info("logits", kind, ["B", spec.classes])
        return helper.make_graph(self._nodes, "edgesearch", [given.info], [found], self._initializers)

    def _stage(self, stage: Stage, maps: str) -> str:
        g = stage.geometry
        if not stage.weighs:
            kind, stride = ("MaxPool", g.stride) if stage.kind == "pool" else ("AveragePool", g.kernel)
            return self._add(kind, maps, kernel_shape=list(g.kernel), strides=list(stride))
        weights, bias = self._model.folded(stage)
        operands = self._constant(stage.name, weights), self._constant(f"{stage.name}bias", bias)
        if stage.kind == "dense":
            maps = self._add("Gemm", self._add("Flatten", maps), *operands, transB=1)
        else:
            pads = [*g.padding, *g.padding]
            maps = self._add("Conv", maps, *operands, strides=list(g.stride), pads=pads, group=stage.groups)
        return self._add("Relu", maps) if stage.relu else maps

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def _constant(self, name: str, values: Tensor) -> str:
        self._initializers.append(self._onnx.numpy_helper.from_array(values.detach().cpu().float().numpy(), name))
        return name

    def _shape(self, name: str, extents: tuple[int, ...]) -> str:
        kind = self._onnx.TensorProto.INT64
        self._initializers.append(self._onnx.helper.make_tensor(name, kind, [len(extents)], extents))
        return name
