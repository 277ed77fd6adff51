"""The reference equations, written down once more, gate by gate, on named matrices: the independent side of the tests.

Weights are a dict under EdgeML's file names; everything is float64 and differentiable.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Function = Callable[[Tensor], Tensor]

FUNCTIONS: dict[str, Function] = {
    "sigmoid": lambda a: 1 / (1 + torch.exp(-a)),
    "tanh": lambda a: (torch.exp(a) - torch.exp(-a)) / (torch.exp(a) + torch.exp(-a)),
    "relu": lambda a: torch.where(a > 0, a, torch.zeros_like(a)),
    "quantTanh": lambda a: torch.minimum(torch.maximum(a, -torch.ones_like(a)), torch.ones_like(a)),
    "quantSigm": lambda a: torch.minimum(torch.maximum((a + 1) / 2, torch.zeros_like(a)), torch.ones_like(a)),
    "quantSigm4": lambda a: torch.minimum(torch.maximum((a + 2) / 4, torch.zeros_like(a)), torch.ones_like(a)),
}
GATES = {"fastrnn": 1, "fastgrnn": 1, "ugrnn": 2, "gru": 3, "lstm": 4}
BIASES = {
    "fastrnn": ("B",),
    "fastgrnn": ("Bg", "Bh"),
    "ugrnn": ("Bg", "Bh"),
    "gru": ("Br", "Bg", "Bh"),
    "lstm": ("Bf", "Bi", "Bc", "Bo"),
}
SCALARS = {"fastrnn": ("alpha", "beta"), "fastgrnn": ("zeta", "nu")}


def random_weights(cell: str, D: int, H: int, C: int, wRank: int | None, uRank: int | None, seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / math.sqrt(shape[0])

    weights: Weights = {}
    for letter, rows, rank in (("W", D, wRank), ("U", H, uRank)):
        if GATES[cell] == 1:
            shapes = {letter: (rows, H)} if rank is None else {f"{letter}1": (rows, rank), f"{letter}2": (rank, H)}
        else:
            shapes = {} if rank is None else {letter: (rows, rank)}
            shapes |= {f"{letter}{k + 1}": (rank or rows, H) for k in range(GATES[cell])}
        weights |= {name: draw(*shape) for name, shape in shapes.items()}
    weights |= {name: draw(1, H) for name in BIASES[cell]}
    weights |= {name: draw(1, 1) for name in SCALARS.get(cell, ())}
    return weights | {"FC": draw(H, C), "FCbias": draw(1, C)}


def _product(weights: Weights, letter: str, gate: int, cell: str, v: Tensor) -> Tensor:
    if GATES[cell] == 1:
        if letter in weights:
            return v @ weights[letter]
        return (v @ weights[f"{letter}1"]) @ weights[f"{letter}2"]
    shared = v @ weights[letter] if letter in weights else v
    return shared @ weights[f"{letter}{gate}"]


def logits(cell: str, weights: Weights, x: Tensor, gate: str = "sigmoid", update: str = "tanh") -> Tensor:
    """Return h_T FC + FCbias for x (T, B, D)."""
    g, u, s = FUNCTIONS[gate], FUNCTIONS[update], FUNCTIONS["sigmoid"]
    w = weights
    h = x.new_zeros(x.shape[1], w["FC"].shape[0])
    c = torch.zeros_like(h)
    for frame in x:

        def both(k: int, frame: Tensor = frame, h: Tensor = h) -> Tensor:
            return _product(w, "W", k, cell, frame) + _product(w, "U", k, cell, h)

        if cell == "fastrnn":
            h = s(w["beta"]) * h + s(w["alpha"]) * u(both(1) + w["B"])
        elif cell == "fastgrnn":
            z, k = g(both(1) + w["Bg"]), u(both(1) + w["Bh"])
            h = z * h + (s(w["zeta"]) * (1 - z) + s(w["nu"])) * k
        elif cell == "ugrnn":
            z, k = g(both(1) + w["Bg"]), u(both(2) + w["Bh"])
            h = z * h + (1 - z) * k
        elif cell == "gru":
            r, z = g(both(1) + w["Br"]), g(both(2) + w["Bg"])
            k = u(_product(w, "W", 3, cell, frame) + _product(w, "U", 3, cell, r * h) + w["Bh"])
            h = z * h + (1 - z) * k
        else:
            i, f, o = g(both(1) + w["Bi"]), g(both(2) + w["Bf"]), g(both(4) + w["Bo"])
            c = f * c + i * u(both(3) + w["Bc"])
            h = o * u(c)
    return h @ w["FC"] + w["FCbias"]
