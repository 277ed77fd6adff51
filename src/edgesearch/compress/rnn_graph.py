"""A recurrent classifier as the operations of an integer program: a step for each frame, the head after the last one.

One place says what each cell computes in integers. Fake quantisation, calibration and the program all follow it.
"""

from collections.abc import Callable
from typing import cast

import torch

from edgesearch.cells.cell import RNNCell
from edgesearch.cells.classifier import Classifier
from edgesearch.compress.graph import INPUT, Graph
from edgesearch.errors import ConfigError
from edgesearch.numerics.operations import (
    PIECEWISE_LINEAR,
    Affine,
    Apply,
    Combine,
    Term,
    piecewise_linear,
)


def rnn_graph(model: Classifier, steps: int) -> Graph:
    """Return the graph of a classifier on windows of `steps` raw frames.

    `model.input_mean` and `model.input_std` (D,), where set, become the first operation.

    Raises:
        ConfigError: a layer that runs backwards, or a nonlinearity without a name.
    """
    rnn = model.rnn
    if rnn.bidirectional:
        raise ConfigError("an integer program reads frames as they come, got cell.bidirectional=true; set it to false")
    g = Graph(steps)
    x = g.value("input", rnn.input_size, "input")
    if model.input_mean is not None and model.input_std is not None:
        x = g.normalise(g.step, x, rnn.input_size, model.input_mean, model.input_std)
    for index, cell in enumerate(rnn.cells):
        x = _layer(g, cast(RNNCell, cell), f"l{index}_", x)
    g.constant("FC", "matrix", lambda: model.FC.t())
    g.constant("FCbias", "bias", lambda: model.FCbias)
    g.head.append(Affine(g.value("logits", model.classes, "logits"), (("FC", _state_of(g, x)),), "FCbias"))
    return g


def _state_of(g: Graph, value: str) -> str:
    return next(state for state, source in g.states.items() if source == value)


def _layer(g: Graph, cell: RNNCell, prefix: str, x: str) -> str:
    """Append a layer's step; return the value that its h takes."""
    if cell.nonlinearities is None:
        raise ConfigError("an integer program needs nonlinearities by name, got a callable; use quantTanh or quantSigm")
    layer = _Layer(g, cell, prefix, x)
    for state in ("h", "c")[: cell.kind.states]:
        g.value(prefix + state, cell.hidden_size, "activation")
    after = _CELLS[cell.kind.name](layer)
    for state, value in zip(("h", "c"), after, strict=False):
        g.states[prefix + state] = value
    return after[0]


class _Layer:
    """What the cells' equations are written with. Names get the layer's prefix."""

    def __init__(self, g: Graph, cell: RNNCell, prefix: str, x: str) -> None:
        self.g, self.cell, self.prefix, self.H = g, cell, prefix, cell.hidden_size
        self.h, self.c = prefix + "h", prefix + "c"
        self.x = x if cell.spec.wRank is None else self._factor("W1", "xW", x)
        self._shared: dict[str, str] = {}

    def _factor(self, matrix: str, out: str, vector: str) -> str:
        """The product with the first factor of a low-rank matrix."""
        parameter = self.cell.get_parameter(matrix)
        self._reads(vector, self.g.constant(self.prefix + matrix, "matrix", lambda: parameter.t()))
        self.g.value(self.prefix + out, parameter.size(1), "inner")
        self.g.step.append(Affine(self.prefix + out, ((self.prefix + matrix, vector),)))
        return self.prefix + out

    def _through(self, vector: str) -> str:
        """A state on its way to U's last factor."""
        if self.cell.spec.uRank is None:
            return vector
        if vector not in self._shared:
            name = "U1"
            if self.prefix + name in self.g.parameters:  # r * h goes through the same factor
                out = self.g.value(self.prefix + "rhU", self.cell.U1.size(1), "inner")
                self.g.step.append(Affine(out, ((self.prefix + name, vector),)))
                self._shared[vector] = out
            else:
                self._shared[vector] = self._factor(name, "hU", vector)
        return self._shared[vector]

    def _block(self, matrix: str, block: int) -> str:
        """One block of H columns of W or U, or of its last factor, as a matrix of H rows."""
        rank = self.cell.spec.wRank if matrix == "W" else self.cell.spec.uRank
        name = matrix if rank is None else f"{matrix}2"
        parameter, H = self.cell.get_parameter(name), self.H
        suffix = "" if self.cell.kind.blocks == 1 else f"_{block}"
        full = f"{self.prefix}{name}{suffix}"
        if full not in self.g.parameters:
            self.g.constant(full, "matrix", lambda: parameter[:, block * H : (block + 1) * H].t())
            if matrix == "W" and rank is None:
                self._reads(self.x, full)
        return full

    def _reads(self, vector: str, matrix: str) -> None:
        """A matrix that reads raw frames takes the channels' units into its columns."""
        if vector == INPUT:
            self.g.by_channel[matrix] = lambda found, given: found * torch.from_numpy(given.spans).to(found)

    def bias(self, name: str) -> str:
        """A bias vector."""
        parameter = self.cell.get_parameter(name)
        return self.g.constant(self.prefix + name, "bias", lambda: parameter)

    def scalar(self, name: str) -> str:
        """A scalar after its sigmoid."""
        parameter = self.cell.get_parameter(name)
        self.g.squashed[self.prefix + name] = lambda: parameter
        return self.g.constant(self.prefix + name, "scalar", lambda: torch.sigmoid(parameter.double()).reshape(1))

    def product(self, out: str, block: int, *, x: bool = True, h: str | None = None, bias: str | None = None) -> str:
        """out = x W + h U (+ bias), for one block; `h` None leaves U out."""
        pairs = [(self._block("W", block), self.x)] if x else []
        if h is not None:
            vector = self._through(h)
            pairs.append((self._block("U", block), vector))
        name = self.g.value(self.prefix + out, self.H, "inner")
        self.g.step.append(Affine(name, tuple(pairs), None if bias is None else self.bias(bias)))
        return name

    def combine(self, out: str, *terms: Term, inner: bool = False) -> str:
        """out = sum of terms."""
        name = self.g.value(self.prefix + out, self.H, "inner" if inner else "activation")
        self.g.step.append(Combine(name, terms))
        return name

    def nonlinear(self, out: str, *terms: Term, update: bool) -> str:
        """out = gate or update nonlinearity of a sum of terms."""
        assert self.cell.nonlinearities is not None
        chosen = self.cell.nonlinearities[update]
        if chosen in PIECEWISE_LINEAR:
            name = self.g.value(self.prefix + out, self.H, "activation")
            self.g.step.append(piecewise_linear(name, terms, chosen))
        else:
            alone = len(terms) == 1 and self.g.roles[terms[0].operands[0]] == "inner"
            source = terms[0].operands[0] if alone else self.combine(f"{out}_in", *terms, inner=True)
            name = self.g.value(self.prefix + out, self.H, "activation")
            self.g.step.append(Apply(name, source, chosen))
        if chosen != "relu":
            self.g.bounded[name] = chosen in ("tanh", "quantTanh")
        return name


def _mix(layer: _Layer, z: str, k: str) -> str:
    """h' = z * h + (1 - z) * k."""
    return layer.combine("h_next", Term((z, layer.h)), Term((k,)), Term((z, k), negative=True))


def _fastrnn(layer: _Layer) -> tuple[str, ...]:
    k = layer.nonlinear("k", Term((layer.product("p", 0, h=layer.h, bias="B"),)), update=True)
    alpha, beta = layer.scalar("alpha"), layer.scalar("beta")
    return (layer.combine("h_next", Term((beta, layer.h)), Term((alpha, k))),)


def _fastgrnn(layer: _Layer) -> tuple[str, ...]:
    p = layer.product("p", 0, h=layer.h)
    z = layer.nonlinear("z", Term((p,)), Term((layer.bias("Bg"),)), update=False)
    k = layer.nonlinear("k", Term((p,)), Term((layer.bias("Bh"),)), update=True)
    zeta, nu = layer.scalar("zeta"), layer.scalar("nu")
    share = layer.combine("g", Term((zeta,)), Term((zeta, z), negative=True), Term((nu,)))
    return (layer.combine("h_next", Term((z, layer.h)), Term((share, k))),)


def _ugrnn(layer: _Layer) -> tuple[str, ...]:
    z = layer.nonlinear("z", Term((layer.product("pg", 0, h=layer.h, bias="Bg"),)), update=False)
    k = layer.nonlinear("k", Term((layer.product("ph", 1, h=layer.h, bias="Bh"),)), update=True)
    return (_mix(layer, z, k),)


def _gru(layer: _Layer) -> tuple[str, ...]:
    r = layer.nonlinear("r", Term((layer.product("pr", 0, h=layer.h, bias="Br"),)), update=False)
    z = layer.nonlinear("z", Term((layer.product("pg", 1, h=layer.h, bias="Bg"),)), update=False)
    if layer.cell.spec.reset_after:
        x, h = layer.product("px", 2, bias="Bh"), layer.product("pu", 2, x=False, h=layer.h, bias="Bhh")
        terms: tuple[Term, ...] = (Term((x,)), Term((r, h)))
    else:
        terms = (Term((layer.product("ph", 2, h=layer.combine("rh", Term((r, layer.h))), bias="Bh"),)),)
    return (_mix(layer, z, layer.nonlinear("k", *terms, update=True)),)


def _lstm(layer: _Layer) -> tuple[str, ...]:
    gates = [layer.product(f"p{n}", block, h=layer.h, bias=f"B{n}") for block, n in enumerate("ifco")]
    i, f, k, o = (layer.nonlinear(n, Term((p,)), update=n == "k") for n, p in zip("ifko", gates, strict=True))
    c = layer.combine("c_next", Term((f, layer.c)), Term((i, k)))
    u = layer.nonlinear("u", Term((c,)), update=True)
    return layer.combine("h_next", Term((o, u))), c


_CELLS: dict[str, Callable[[_Layer], tuple[str, ...]]] = {
    "fastrnn": _fastrnn,
    "fastgrnn": _fastgrnn,
    "ugrnn": _ugrnn,
    "gru": _gru,
    "lstm": _lstm,
}
