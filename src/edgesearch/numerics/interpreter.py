"""Runs an integer program over a batch, exactly, and counts what saturates.

Matrix products go through float64, which is exact for sums of up to 53 bits, and is ten times as fast as int64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesearch.errors import DataError
from edgesearch.numerics.format import Floats, Ints, round_shift
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Geometry, Operation, Pool, Sum
from edgesearch.numerics.program import IntegerProgram

_EXACT = 53  # bits of float64

# (step from 0 or -1 for the head, operation, integers (N, size))
Observer = Callable[[int, Operation, Ints], None]


@dataclass(frozen=True)
class Outcome:
    """What a program makes of N windows.

    Attributes:
        logits: (N, C) integers.
        answers: (N,) classes, the first of equal ones.
        states: the states after the last step, (N, size) each.
        saturations: of each operation that can saturate, how many of its results did at each step (T,), or (1,) for
            one of the head.
    """

    logits: Ints
    answers: Ints
    states: dict[str, Ints]
    saturations: dict[str, Ints]


def input_integers(program: IntegerProgram, x: Floats) -> Ints:
    """Return sequences x (T, N, D) in the program's input format.

    Raises:
        DataError: another shape, or numbers that are not finite.
    """
    if x.ndim != 3 or x.shape[0] != program.steps or x.shape[2] != program.inputs:
        expected = f"({program.steps}, N, {program.inputs})"
        raise DataError(
            f"this program takes windows {expected}, got {x.shape}; frames come first, transpose a batch-first array"
        )
    if not np.isfinite(x).all():
        raise DataError("input must be finite, got NaN or infinity; clean the data")
    return program.values["input"].format.integers(x)


def run(program: IntegerProgram, x: Ints, observe: Observer | None = None) -> Outcome:
    """Run the program on integers x (T, N, D); `observe` sees every result.

    Raises:
        DataError: another shape, or integers outside the input format.
    """
    format = program.values["input"].format
    if x.ndim != 3 or x.shape[0] != program.steps or x.shape[2] != program.inputs:
        raise DataError(f"this program takes integers ({program.steps}, N, {program.inputs}), got {x.shape}")
    if x.size and (x.min() < format.low or x.max() > format.high):
        raise DataError(f"input must lie in {format.low}..{format.high} ({format}), got {x.min()}..{x.max()}")
    runner = _Runner(program, x.shape[1])
    for t in range(program.steps):
        runner.environment["input"] = x[t]
        for operation in program.step:
            runner.execute(operation, t, observe)
        runner.environment |= {state: runner.environment[source] for state, source in program.states.items()}
    runner.environment["window"] = x.transpose(1, 0, 2).reshape(x.shape[1], program.steps * program.inputs)
    for operation in program.head:
        runner.execute(operation, -1, observe)
    logits = runner.environment[program.logits]
    states = {state: runner.environment[state] for state in program.states}
    return Outcome(logits, logits.argmax(axis=1), states, runner.saturations)


class _Runner:
    def __init__(self, program: IntegerProgram, rows: int) -> None:
        self.program = program
        self.environment: dict[str, Ints] = {
            state: np.zeros((rows, program.values[state].size), np.int64) for state in program.states
        }
        self.saturations = {o.out: np.zeros(program.steps, np.int64) for o in program.step if not isinstance(o, Apply)}
        self.saturations |= {o.out: np.zeros(1, np.int64) for o in program.head if not isinstance(o, Apply)}
        self._transposed = {
            name: c.integers.T.astype(np.float64) for name, c in program.constants.items() if c.integers.ndim == 2
        }

    def execute(self, operation: Operation, step: int, observe: Observer | None) -> None:
        program = self.program
        if isinstance(operation, Apply):
            result = program.tables[operation.out](self._read(operation.source))
        else:
            total = self._total(operation)
            to = program.format(operation.out)
            rounded = round_shift(total, program.fraction(operation) - to.fraction)
            self.saturations[operation.out][step] = ((rounded < to.low) | (rounded > to.high)).sum()
            result = np.clip(rounded, *program.bounds(operation))
        self.environment[operation.out] = result
        if observe is not None:
            observe(step, operation, result)

    def _read(self, name: str) -> Ints:
        found = self.environment.get(name)
        return self.program.constants[name].integers if found is None else found

    def _total(self, operation: Sum) -> Ints:
        if isinstance(operation, Affine):
            return self._affine(operation)
        if isinstance(operation, Combine):
            return self._combine(operation)
        patches = _patches(self._read(operation.source), operation.geometry)
        if isinstance(operation, Pool):
            pooled = patches.max(axis=2) if operation.kind == "max" else patches.sum(axis=2)
            return np.asarray(pooled.reshape(len(pooled), -1), np.int64)
        return self._convolve(operation, patches)

    def _convolve(self, operation: Convolve, patches: Ints) -> Ints:
        """`patches` is (N, channels, kernel places, places)."""
        program, common = self.program, self.program.fraction(operation)
        weights, rows, places = program.constants[operation.weights].integers, len(patches), patches.shape[3]
        grouped = patches.reshape(rows, operation.groups, -1, places)
        filters = weights.reshape(operation.groups, len(weights) // operation.groups, -1)
        wide = program.sum_bits(operation) > _EXACT
        kind = np.int64 if wide else np.float64
        total = np.einsum("gok,ngkp->ngop", filters.astype(kind), grouped.astype(kind), optimize=not wide)
        result = total.astype(np.int64).reshape(rows, len(weights), places)
        result = result << (common - program.product_fraction(operation.weights, operation.source))
        if operation.bias is not None:
            bias = program.constants[operation.bias]
            result = result + (bias.integers << (common - bias.format.fraction))[:, None]
        return np.asarray(result.reshape(rows, -1), np.int64)

    def _affine(self, operation: Affine) -> Ints:
        program, common = self.program, self.program.fraction(operation)
        total: Ints = np.zeros((1, program.values[operation.out].size), np.int64)
        for matrix, vector in operation.products:
            x = self._read(vector)
            if program.sum_bits(operation) <= _EXACT:
                product = (x.astype(np.float64) @ self._transposed[matrix]).astype(np.int64)
            else:
                product = x @ program.constants[matrix].integers.T
            total = total + (product << (common - program.product_fraction(matrix, vector)))
        if operation.bias is not None:
            bias = program.constants[operation.bias]
            total = total + (bias.integers << (common - bias.format.fraction))
        return total

    def _combine(self, operation: Combine) -> Ints:
        program, common = self.program, self.program.fraction(operation)
        rows = next(iter(self.environment.values())).shape[0]
        size = program.values[operation.out].size
        total: Ints = np.zeros((rows, size), np.int64)
        for term in operation.terms:
            product: Ints = np.ones(1, np.int64)
            for name in term.operands:
                product = product * _units(self._read(name), size)
            product = product << (common - program.term_fraction(term))
            total = total - product if term.negative else total + product
        return total


def _units(values: Ints, size: int) -> Ints:
    """Values for every unit of a result, going round where there are fewer."""
    own = values.shape[-1]
    return values if own in (1, size) else np.tile(values, size // own)


def _patches(x: Ints, geometry: Geometry) -> Ints:
    """What lies under the kernel at each place: (N, channels, kernel places, places)."""
    (ph, pw), (kh, kw), (sh, sw) = geometry.padding, geometry.kernel, geometry.stride
    maps = x.reshape(len(x), geometry.channels, geometry.height, geometry.width)
    maps = np.pad(maps, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    views = np.lib.stride_tricks.sliding_window_view(maps, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]
    return views.reshape(len(x), geometry.channels, -1, kh * kw).transpose(0, 1, 3, 2)
