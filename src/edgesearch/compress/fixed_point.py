"""A recurrent classifier that is trained in integers: its program in formats that follow from settings alone.

The weights are one vector of 32-bit integers. The program's constants are the same numbers in fewer bits, so that what
is trained is what will be shipped.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from edgesearch.cells.classifier import Classifier
from edgesearch.compress.calibrate import SCALING_FINEST, Widths
from edgesearch.compress.channels import input_format
from edgesearch.compress.fitting import fitted
from edgesearch.compress.graph import INPUT, Graph
from edgesearch.compress.program import compile_program
from edgesearch.data.frames import Frames
from edgesearch.errors import ConfigError
from edgesearch.numerics.approximation import SOURCE
from edgesearch.numerics.fixed import Arithmetic, Fixed
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.operations import Apply, Combine
from edgesearch.numerics.program import IntegerProgram
from edgesearch.numerics.rules import Exact, times

WEIGHTS = Format(32, 28)
_FEW = ((4, 3), (8, 1))  # bits of a weight up to which its range is so many powers of two smaller
LEAST = 12  # bits of a value


def public_formats(graph: Graph, widths: Widths, frames: Frames, largest: float) -> dict[str, Format]:
    """Return a format for every value and constant, from settings alone but for the input and its scaling.

    Biases reach 8, as weights do (4 with 5 to 8 bits, 1 with fewer), gates and their products 1, logits 64 and all
    other values 16.

    Args:
        graph: of the model.
        widths: bits, of values at least 12.
        frames: what was seen of the frames, with room for what training adds to them.
        largest: the largest magnitude of all channels, likewise.

    Raises:
        ConfigError: a name in `widths` that the graph has not, or a value of less than 12 bits.
    """
    widths.check(graph)
    for name, own in widths.named.items():
        if graph.roles[name] not in ("matrix", "bias", "scalar") and own < LEAST:
            raise ConfigError(
                f"a value that is trained in fixed point must have at least {LEAST} bits, got {own} for {name}; "
                f"set +quant.named.{name}=16"
            )
    bits = {name: widths.bits(graph, name) for name in graph.roles}
    whole = {"activation": 4, "inner": 4, "logits": 6, "matrix": 3, "bias": 3, "scalar": 1}
    formats = {}
    within = _within_one(graph)
    for name, role in graph.roles.items():
        if name == INPUT:
            plain = fitted(np.zeros(0), largest, bits[name], "max")
            formats[name] = input_format(plain, frames, "max", graph.unit, widen=False)
        elif name in graph.scaling:
            numbers = graph.numbers(name, formats[INPUT]).detach().double().numpy().reshape(-1)
            formats[name] = fitted(numbers, float(np.abs(numbers).max()), bits[name], "max", SCALING_FINEST)
        elif name in within:
            formats[name] = Format(bits[name], bits[name] - 2)
        else:
            less = next((fewer for few, fewer in _FEW if bits[name] <= few), 0) if role == "matrix" else 0
            formats[name] = Format(bits[name], bits[name] - 1 - whole[role] + less)
    formats |= {o.source: SOURCE for o in (*graph.step, *graph.head) if isinstance(o, Apply)}
    return formats | {state: formats[source] for state, source in graph.states.items()}


def _within_one(graph: Graph) -> set[str]:
    """Return the values that 1 bounds: of nonlinearities, and products of such."""
    found = set(graph.bounded)
    for operation in graph.step:
        if isinstance(operation, Combine) and len(operation.terms) == 1:
            (term,) = operation.terms
            if term.operands and term.power <= 0 and set(term.operands) <= found:
                found.add(operation.out)
    return found


class FixedPoint:
    """The weights of a classifier as integers, and its program's constants made of them.

    Args:
        model: a classifier in float64, whose parameters from now on are multiples of 2 ** -28.
        graph: of that classifier.
        formats: of every value and constant.
        function_error: of the program's tables.
        arithmetic: counts weights that leave their range.
    """

    def __init__(
        self,
        model: Classifier,
        graph: Graph,
        formats: Mapping[str, Format],
        function_error: float,
        arithmetic: Arithmetic,
    ) -> None:
        self._names, self._parameters = map(list, zip(*model.named_parameters(), strict=True))
        self._formats, self._arithmetic = formats, arithmetic
        self._places = _places(self._parameters, graph)
        self._squashed = {name: _sigmoid(formats[name]) for name in graph.squashed}
        self._low, self._high = self._limits()
        numbers = torch.cat([p.detach().reshape(-1) for p in self._parameters]).numpy()
        self.weights = self.held(Fixed.of(numbers, WEIGHTS))
        self.program: IntegerProgram = compile_program(graph, formats, function_error)

    @property
    def trained(self) -> frozenset[str]:
        """The constants that come from weights."""
        return frozenset(self._places)

    @property
    def weights(self) -> Fixed:
        """All weights (n,), one parameter of the model after the other."""
        flat = torch.cat([p.detach().reshape(-1) for p in self._parameters]).numpy()
        return Fixed((flat * 2.0**WEIGHTS.fraction).astype(np.int64), WEIGHTS)

    @weights.setter
    def weights(self, weights: Fixed) -> None:
        parts = torch.split(torch.from_numpy(weights.numbers), [p.numel() for p in self._parameters])
        with torch.no_grad():
            for parameter, part in zip(self._parameters, parts, strict=True):
                parameter.copy_(part.view_as(parameter))

    def held(self, weights: Fixed) -> Fixed:
        """Return weights within what their constants can hold; those that were not are counted."""
        inside = np.clip(weights.integers, self._low, self._high)
        beyond = int(np.count_nonzero(inside != weights.integers))
        if beyond:
            self._arithmetic.overflows["weights"] += beyond
        return Fixed(inside, WEIGHTS)

    def constants(self, weights: Fixed) -> dict[str, Ints]:
        """Return the program's constants."""
        found = {}
        for name, places in self._places.items():
            to = SOURCE if name in self._squashed else self._formats[name]
            integers = self._arithmetic.store(weights.integers[places], WEIGHTS.fraction, to, name).integers
            found[name] = self._squashed[name][integers - to.low] if name in self._squashed else integers
        return found

    def gradient(
        self, found: Mapping[str, Exact], constants: Mapping[str, Ints], to: Format, scale: int, arithmetic: Arithmetic
    ) -> Fixed:
        """Return the gradient (n,) of all weights from those of the constants, which are 2 ** scale times too large."""
        flat = np.zeros(sum(p.numel() for p in self._parameters), np.int64)
        for name, exact in found.items():
            if name in self._squashed:
                fraction = self._formats[name].fraction
                slope = constants[name] * ((1 << fraction) - constants[name])
                exact = times(exact, slope, 2 * fraction, 2 * fraction)
            stored = arithmetic.store(exact.values, exact.fraction + scale, to, "gradients")
            flat[self._places[name]] = stored.integers
        return Fixed(flat, to)

    def _limits(self) -> tuple[Ints, Ints]:
        size = sum(p.numel() for p in self._parameters)
        low, high = np.full(size, WEIGHTS.low), np.full(size, WEIGHTS.high)
        for name, places in self._places.items():
            to = SOURCE if name in self._squashed else self._formats[name]
            up = WEIGHTS.fraction - to.fraction
            low[places], high[places] = max(WEIGHTS.low, to.low << up), min(WEIGHTS.high, to.high << up)
        return low, high

    def shipped(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of the model as the program has them, in float32, which holds them exactly."""
        flat = torch.cat([state[name].reshape(-1) for name in self._names]).numpy()
        weights, numbers = Fixed.of(flat, WEIGHTS), np.zeros(len(flat))
        for name, places in self._places.items():
            to = SOURCE if name in self._squashed else self._formats[name]
            numbers[places] = Arithmetic().store(weights.integers[places], WEIGHTS.fraction, to, name).numbers
        parts = torch.split(torch.from_numpy(numbers).float(), [p.numel() for p in self._parameters])
        return {n: part.view_as(p) for n, p, part in zip(self._names, self._parameters, parts, strict=True)}


def _places(parameters: list[torch.nn.Parameter], graph: Graph) -> dict[str, Ints]:
    """Return where in the vector of all weights the numbers of each trained constant are, in the constant's shape."""
    kept = [p.detach().clone() for p in parameters]
    first, found = 0, {}
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.arange(first, first + parameter.numel()).view_as(parameter))
            first += parameter.numel()
        for name in graph.parameters.keys() - set(graph.scaling):
            squashed = graph.squashed.get(name)
            numbers = graph.parameters[name]() if squashed is None else squashed().reshape(1)
            found[name] = numbers.long().numpy()
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return found


def _sigmoid(to: Format) -> Ints:
    """The sigmoid of every integer of `SOURCE`: a table that follows from its formats."""
    every = torch.from_numpy(SOURCE.numbers(np.arange(SOURCE.low, SOURCE.high + 1)))
    return to.integers(torch.sigmoid(every).numpy())
