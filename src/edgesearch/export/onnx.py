"""A float classifier as an ONNX graph: each layer a Scan over the frames, or the LSTM and GRU operators of ONNX.

Needs the extra `onnx`. Input `x` is (T, B, D), raw frames in the data's units, with B free, and T too for recurrent
models; output `logits` is (B, C).
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from edgesearch.atomic import write_bytes
from edgesearch.cells.cell import RNNCell
from edgesearch.cells.classifier import AnyClassifier, Classifier
from edgesearch.cells.conv import ConvClassifier
from edgesearch.errors import ConfigError
from edgesearch.export.onnx_conv import convolutional_graph
from edgesearch.export.onnx_input import Scaling, graph_input

_OPSET = 17


def export_onnx(model: AnyClassifier, path: Path, scaling: Scaling | None = None) -> None:
    """Write `model` as an ONNX file.

    Args:
        model: a classifier of normalised frames.
        path: of the file.
        scaling: what normalises frames, which becomes the first thing in the graph; `x` is float64 if it is, else
            float32. Without it `x` is taken as normalised.

    Raises:
        ConfigError: the package onnx is missing, or a nonlinearity has no name.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError("export=onnx needs the package onnx, got none; pip install 'edgesearch[onnx]'") from error
    if isinstance(model, ConvClassifier):
        graph = convolutional_graph(onnx, model, scaling)
    else:
        graph = _Model(onnx, model).graph(scaling)
    opset = onnx.helper.make_opsetid("", _OPSET)
    made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, made.SerializeToString())


class _Nodes:
    """Nodes under construction, with results named one after the other."""

    def __init__(self, onnx: Any, prefix: str) -> None:
        self._onnx, self._prefix = onnx, prefix
        self.nodes: list[Any] = []

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Append a node; return its first result, or its last for more than one."""
        names = [f"{self._prefix}{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names[-1]


class _Model:
    def __init__(self, onnx: Any, model: Classifier) -> None:
        self._onnx, self._model = onnx, model
        self._initializers: list[Any] = []
        self._nodes = _Nodes(onnx, "n")

    def graph(self, scaling: Scaling | None) -> Any:
        """The whole model."""
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        rnn = self._model.rnn
        given = graph_input(self._onnx, ["T", "B", rnn.input_size], scaling)
        self._nodes.nodes += given.nodes
        self._initializers += given.initializers
        x = given.frames
        last: list[str] = []
        for layer in range(rnn.num_layers):
            outputs, last = [], []
            for direction in range(rnn.directions):
                cell = cast(RNNCell, rnn.cells[layer * rnn.directions + direction])
                name = f"l{layer}_{direction}_"
                run = self._native if _is_native(cell) else self._scan
                output, state = run(cell, name, x, direction == 1)
                outputs.append(output)
                last.append(state)
            x = outputs[0] if len(outputs) == 1 else self._nodes.add("Concat", *outputs, axis=2)
        h = last[0] if len(last) == 1 else self._nodes.add("Concat", *last, axis=1)
        product = self._nodes.add("MatMul", h, self._constant("FC", self._model.FC))
        self._nodes.nodes.append(
            helper.make_node("Add", [product, self._constant("FCbias", self._model.FCbias)], ["logits"])
        )
        found = helper.make_tensor_value_info("logits", kind, ["B", self._model.classes])
        return helper.make_graph(self._nodes.nodes, "edgesearch", [given.info], [found], self._initializers)

    def _constant(self, name: str, values: Tensor | Any) -> str:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        array = array.astype(np.float32 if array.dtype.kind == "f" else array.dtype)
        self._initializers.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    # ---- ONNX's own operators ---------------------------------------------------------------------------------

    def _native(self, cell: RNNCell, name: str, x: str, backward: bool) -> tuple[str, str]:
        order = (0, 3, 1, 2) if cell.kind.name == "lstm" else (1, 0, 2)  # i o f c; z r h
        W, U = _matrix(cell, "W"), _matrix(cell, "U")

        def blocks(matrix: Tensor) -> Tensor:
            parts = matrix.chunk(cell.kind.blocks, dim=1)
            return torch.cat([parts[k] for k in order], dim=1).t().unsqueeze(0)

        first = [getattr(cell, bias) for bias in cell.kind.biases]
        second = [torch.zeros_like(b) for b in first]
        if cell.spec.reset_after:
            second[2] = cell.get_parameter("Bhh")
        bias = torch.cat([*(first[k] for k in order), *(second[k] for k in order)]).unsqueeze(0)
        options = {"linear_before_reset": 1} if cell.kind.name == "gru" else {}
        self._nodes.add(
            cell.kind.name.upper(), x, self._constant(f"{name}W", blocks(W)), self._constant(f"{name}R", blocks(U)),
            self._constant(f"{name}B", bias), outputs=2, hidden_size=cell.hidden_size,
            direction="reverse" if backward else "forward", **options,
        )  # fmt: skip
        outputs = self._nodes.nodes[-1].output
        output = self._nodes.add("Squeeze", outputs[0], self._constant(f"{name}one", np.array([1], np.int64)))
        return output, self._nodes.add("Squeeze", outputs[1], self._constant(f"{name}zero", np.array([0], np.int64)))

    # ---- a Scan over the frames -------------------------------------------------------------------------------

    def _scan(self, cell: RNNCell, name: str, x: str, backward: bool) -> tuple[str, str]:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        body = _Step(self, cell, name)
        H, states = cell.hidden_size, [f"{name}state{k}" for k in range(cell.kind.states)]
        after = body.run(f"{name}frame", states)
        body.nodes.append(helper.make_node("Identity", [after[0]], [f"{name}out"]))
        info = helper.make_tensor_value_info
        inputs = [info(s, kind, ["B", H]) for s in states] + [info(f"{name}frame", kind, ["B", cell.input_size])]
        outputs = [info(a, kind, ["B", H]) for a in (*after, f"{name}out")]
        graph = helper.make_graph(body.nodes, f"{name}step", inputs, outputs)
        zeros = self._zeros(name, x, H)
        direction = [int(backward)]
        self._nodes.add(
            "Scan", *([zeros] * cell.kind.states), x, outputs=cell.kind.states + 1, body=graph, num_scan_inputs=1,
            scan_input_directions=direction, scan_output_directions=direction,
        )  # fmt: skip
        found = self._nodes.nodes[-1].output
        return found[-1], found[0]

    def _zeros(self, name: str, x: str, H: int) -> str:
        """Zeros (B, H)."""
        shape = self._nodes.add("Shape", x, start=1, end=2)
        whole = self._nodes.add("Concat", shape, self._constant(f"{name}H", np.array([H], np.int64)), axis=0)
        value = self._onnx.helper.make_tensor("value", self._onnx.TensorProto.FLOAT, [1], [0.0])
        return self._nodes.add("ConstantOfShape", whole, value=value)

    def constant(self, name: str, values: Tensor | Any) -> str:
        """Declare a constant, visible in every graph."""
        return self._constant(name, values)


class _Step(_Nodes):
    """One step of a cell as ONNX nodes."""

    def __init__(self, model: _Model, cell: RNNCell, name: str) -> None:
        super().__init__(model._onnx, name)
        self._cell, self._name, self._model = cell, name, model
        self._numbers: dict[float, str] = {}
        for letter in "WU":
            low_rank = (cell.spec.wRank if letter == "W" else cell.spec.uRank) is not None
            for part in (f"{letter}1", f"{letter}2") if low_rank else (letter,):
                model.constant(name + part, cell.get_parameter(part))
        for bias in cell.bias_names:
            model.constant(name + bias, cell.get_parameter(bias))
        for scalar, _ in cell.kind.scalars:
            model.constant(name + scalar, torch.sigmoid(cell.get_parameter(scalar)))

    def run(self, frame: str, states: list[str]) -> tuple[str, ...]:
        """Return the names of the next states."""
        return cast(tuple[str, ...], getattr(self, f"_{self._cell.kind.name}")(frame, *states))

    def _number(self, value: float) -> str:
        if value not in self._numbers:
            self._numbers[value] = self._model.constant(f"{self._name}number{len(self._numbers)}", np.array(value))
        return self._numbers[value]

    def _through(self, letter: str, vector: str) -> str:
        low_rank = (self._cell.spec.wRank if letter == "W" else self._cell.spec.uRank) is not None
        if not low_rank:
            return self.add("MatMul", vector, f"{self._name}{letter}")
        return self.add("MatMul", self.add("MatMul", vector, f"{self._name}{letter}1"), f"{self._name}{letter}2")

    def _blocks(self, product: str) -> list[str]:
        count = self._cell.kind.blocks
        if count == 1:
            return [product]
        self.add("Split", product, outputs=count, axis=1)
        return list(self.nodes[-1].output)

    def _nonlinear(self, x: str, *, update: bool = False) -> str:
        if self._cell.nonlinearities is None:
            raise ConfigError("export=onnx needs nonlinearities by name, got a callable; use tanh or sigmoid")
        name = self._cell.nonlinearities[update]
        if name in ("sigmoid", "tanh", "relu"):
            return self.add(name.capitalize(), x)
        if name == "quantTanh":
            return self.add("Clip", x, self._number(-1.0), self._number(1.0))
        slope = 0.5 if name == "quantSigm" else 0.25
        line = self.add("Add", self.add("Mul", x, self._number(slope)), self._number(0.5))
        return self.add("Clip", line, self._number(0.0), self._number(1.0))

    def _biased(self, x: str, bias: str) -> str:
        return self.add("Add", x, self._name + bias)

    def _mixed(self, z: str, h: str, k: str) -> str:
        rest = self.add("Mul", self.add("Sub", self._number(1.0), z), k)
        return self.add("Add", self.add("Mul", z, h), rest)

    def _fastrnn(self, frame: str, h: str) -> tuple[str, ...]:
        p = self.add("Add", self._through("W", frame), self._through("U", h))
        k = self._nonlinear(self._biased(p, "B"), update=True)
        kept = self.add("Mul", h, self._name + "beta")
        return (self.add("Add", kept, self.add("Mul", k, self._name + "alpha")),)

    def _fastgrnn(self, frame: str, h: str) -> tuple[str, ...]:
        p = self.add("Add", self._through("W", frame), self._through("U", h))
        z, k = self._nonlinear(self._biased(p, "Bg")), self._nonlinear(self._biased(p, "Bh"), update=True)
        share = self.add("Mul", self.add("Sub", self._number(1.0), z), self._name + "zeta")
        share = self.add("Add", share, self._name + "nu")
        return (self.add("Add", self.add("Mul", z, h), self.add("Mul", share, k)),)

    def _ugrnn(self, frame: str, h: str) -> tuple[str, ...]:
        p, q = self._blocks(self.add("Add", self._through("W", frame), self._through("U", h)))
        z, k = self._nonlinear(self._biased(p, "Bg")), self._nonlinear(self._biased(q, "Bh"), update=True)
        return (self._mixed(z, h, k),)

    def _gru(self, frame: str, h: str) -> tuple[str, ...]:
        x, u = self._blocks(self._through("W", frame)), self._blocks(self._through("U", h))
        r = self._nonlinear(self._biased(self.add("Add", x[0], u[0]), "Br"))
        z = self._nonlinear(self._biased(self.add("Add", x[1], u[1]), "Bg"))
        if self._cell.spec.reset_after:
            recurrent = self.add("Mul", r, self._biased(u[2], "Bhh"))
        else:
            recurrent = self._blocks(self._through("U", self.add("Mul", r, h)))[2]
        k = self._nonlinear(self._biased(self.add("Add", x[2], recurrent), "Bh"), update=True)
        return (self._mixed(z, h, k),)

    def _lstm(self, frame: str, h: str, c: str) -> tuple[str, ...]:
        parts = self._blocks(self.add("Add", self._through("W", frame), self._through("U", h)))
        i, f, k, o = (
            self._nonlinear(self._biased(part, bias), update=bias == "Bc")
            for part, bias in zip(parts, self._cell.kind.biases, strict=True)
        )
        c = self.add("Add", self.add("Mul", f, c), self.add("Mul", i, k))
        return self.add("Mul", o, self._nonlinear(c, update=True)), c


def _is_native(cell: RNNCell) -> bool:
    form = cell.kind.name == "lstm" or cell.spec.reset_after
    return form and cell.nonlinearities == ("sigmoid", "tanh")


def _matrix(cell: RNNCell, letter: str) -> Tensor:
    low_rank = (cell.spec.wRank if letter == "W" else cell.spec.uRank) is not None
    return (
        cell.get_parameter(f"{letter}1") @ cell.get_parameter(f"{letter}2") if low_rank else cell.get_parameter(letter)
    )
