"""`IntegerProgram`: what is searched, what is reported and what is shipped. A list of operations, constants, formats.

A step of the time loop reads a frame and the states, and each state then takes a value of that step. After the last
step the head's operations give the logits, and the answer is the first largest of them. The head may also read
`window`, all frames one after the other: a convolutional network has no states and an empty step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgesearch.errors import ConfigError
from edgesearch.numerics.approximation import Table
from edgesearch.numerics.format import Format, Ints, round_shift
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Operation, Pool, Sum, Term
from edgesearch.numerics.packing import Encoding, best_encoding, matrix_bytes, value_bytes
from edgesearch.numerics.validity import check

if TYPE_CHECKING:
    from edgesearch.numerics.interpreter import Outcome


@dataclass(frozen=True)
class Value:
    """A vector: the input, a state, or what an operation gives."""

    size: int
    format: Format


@dataclass(frozen=True)
class Constant:
    """A vector (n,), a matrix (rows, columns) or a number (1,), as integers."""

    integers: Ints
    format: Format

    @cached_property
    def encoding(self) -> Encoding:
        """How a matrix is stored; vectors are dense."""
        return best_encoding(self.integers, self.format) if self.integers.ndim == 2 else "dense"

    @property
    def flash_bytes(self) -> int:
        """Bytes as exported, sparse indices included."""
        if self.integers.ndim == 2:
            return matrix_bytes(self.integers, self.format, self.encoding)
        return value_bytes(self.integers.size, self.format)


@dataclass(frozen=True)
class IntegerProgram:
    """A classifier in integers.

    Attributes:
        steps: T, frames of a window.
        values: every vector by name; `input` is the frame.
        constants: weights, biases and scalars by name.
        tables: of each `Apply`, by the name of its result.
        states: state to the value of a step that it takes.
        step: the operations of one frame.
        head: the operations after the last frame.
        logits: the head's result.
        about: words for people: cell, data.
        class_names: of each logit, or none.

    Raises:
        ModelFileError: a rule of `validity.check` does not hold.
    """

    steps: int
    values: dict[str, Value]
    constants: dict[str, Constant]
    tables: dict[str, Table]
    states: dict[str, str]
    step: tuple[Operation, ...]
    head: tuple[Operation, ...]
    logits: str
    about: dict[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    exporters: ClassVar[dict[str, Callable[..., None]]] = {}

    def __post_init__(self) -> None:
        check(self)

    @cached_property
    def _makers(self) -> dict[str, Operation]:
        return {operation.out: operation for operation in (*self.step, *self.head)}

    def format(self, name: str) -> Format:
        """Return the format of a value or constant."""
        if name == "window":
            return self.values["input"].format
        return self.values[name].format if name in self.values else self.constants[name].format

    def size(self, name: str) -> int:
        """Return the length of a value or constant vector."""
        if name == "window":
            return self.steps * self.inputs
        return self.values[name].size if name in self.values else len(self.constants[name].integers)

    @property
    def inputs(self) -> int:
        """D, features of a frame."""
        return self.values["input"].size

    @property
    def classes(self) -> int:
        """C, number of logits."""
        return self.values[self.logits].size

    @property
    def answers(self) -> tuple[str, ...]:
        """The name of each class; of a program without `class_names` those that `about` lists, or numbers."""
        listed = tuple(self.about.get("classes", "").split(" "))
        numbered = tuple(map(str, range(self.classes)))
        return self.class_names or (listed if len(listed) == self.classes else numbered)

    @property
    def reads_window(self) -> bool:
        """Whether the head needs all frames."""
        return any("window" in operation.reads for operation in self.head)

    def bounds(self, operation: Sum) -> tuple[int, int]:
        """Return the least and the greatest integer that the operation may give."""
        return bounds(operation, self.format(operation.out))

    def fraction(self, operation: Sum) -> int:
        """Return the fraction to which the terms of a sum are aligned."""
        if isinstance(operation, Pool):
            return self.format(operation.source).fraction
        if isinstance(operation, Convolve):
            product = self.product_fraction(operation.weights, operation.source)
            return product if operation.bias is None else max(product, self.format(operation.bias).fraction)
        if isinstance(operation, Combine):
            return max(max(self.term_fraction(term) for term in operation.terms), self.format(operation.out).fraction)
        products = [self.product_fraction(*pair) for pair in operation.products]
        return max(products if operation.bias is None else [*products, self.format(operation.bias).fraction])

    def product_fraction(self, matrix: str, vector: str) -> int:
        """Return the fraction of a matrix-vector product."""
        return self.format(matrix).fraction + self.format(vector).fraction

    def term_fraction(self, term: Term) -> int:
        """Return the fraction of a term."""
        return sum(self.format(name).fraction for name in term.operands) - term.power

    def largest(self, name: str) -> int:
        """Return the largest magnitude that a value or constant vector can have."""
        if name in self.constants:
            return int(np.abs(self.constants[name].integers).max(initial=0))
        maker = self._makers.get(self.states.get(name, name))
        if isinstance(maker, Combine | Convolve):
            return max(map(abs, self.bounds(maker)))
        if isinstance(maker, Apply):
            return max(map(abs, self.tables[maker.out].bounds))
        return self.format(name).largest

    def interval(self, name: str) -> tuple[int, int]:
        """Return the least and the greatest integer that a value or constant vector can be."""
        if name in self.constants:
            return int(self.constants[name].integers.min()), int(self.constants[name].integers.max())
        if name in self.states:
            low, high = self.interval(self.states[name])
            return min(low, 0), max(high, 0)  # (a state begins with zeros)
        maker = self._makers.get(name)
        if isinstance(maker, Combine | Convolve):
            return self.bounds(maker)
        if isinstance(maker, Apply):
            return self.tables[maker.out].bounds
        return self.format(name).low, self.format(name).high

    def can_saturate(self, operation: Sum) -> bool:
        """Tell whether the rounded sum can leave its bounds; where it cannot, C needs no comparison."""
        if not isinstance(operation, Combine):
            return True
        common, low, high = self.fraction(operation), 0, 0
        for term in operation.terms:
            ends = [1 << (common - self.term_fraction(term))]
            for name in term.operands:
                ends = [end * own for end in ends for own in self.interval(name)]
            low, high = (low - max(ends), high - min(ends)) if term.negative else (low + min(ends), high + max(ends))
        shift = common - self.format(operation.out).fraction
        rounded = round_shift(np.array([low, high], object), shift)
        return bool(rounded[0] < self.bounds(operation)[0] or rounded[1] > self.bounds(operation)[1])

    def sum_bits(self, operation: Operation) -> int:
        """Return the bits, sign included, that hold every exact sum of the operation and its rounding."""
        if isinstance(operation, Apply):
            return 32
        common, total = self.fraction(operation), 0
        if isinstance(operation, Pool):
            area = operation.geometry.kernel[0] * operation.geometry.kernel[1] if operation.kind == "sum" else 1
            total = self.largest(operation.source) * area
        elif isinstance(operation, Convolve):
            filters = np.abs(self.constants[operation.weights].integers).sum(axis=(1, 2, 3))
            align = common - self.product_fraction(operation.weights, operation.source)
            total = int(filters.max()) * self.largest(operation.source) << align
            if operation.bias is not None:
                total += self.largest(operation.bias) << (common - self.format(operation.bias).fraction)
        elif isinstance(operation, Affine):
            for matrix, vector in operation.products:
                rows = np.abs(self.constants[matrix].integers).sum(axis=1)
                align = common - self.product_fraction(matrix, vector)
                total += int(rows.max(initial=0)) * self.largest(vector) << align
            if operation.bias is not None:
                total += self.largest(operation.bias) << (common - self.format(operation.bias).fraction)
        else:
            for term in operation.terms:
                product = 1
                for name in term.operands:
                    product *= self.largest(name)
                total += product << (common - self.term_fraction(term))
        shift = common - self.format(operation.out).fraction
        return ((total << -shift) if shift < 0 else total + (1 << shift)).bit_length() + 1

    @property
    def flash_bytes(self) -> int:
        """Bytes of all constants and tables, as exported."""
        used = sum(constant.flash_bytes for constant in self.constants.values())
        return used + sum(table.flash_bytes for table in set_of(self.tables))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one window: non-zero weights and products of two operands."""
        return sum(map(self.operation_macs, (*self.step, *self.head)))

    def operation_macs(self, operation: Operation) -> int:
        """Multiply-accumulates of an operation in one window, over all its steps."""
        return self._macs(operation) * (self.steps if operation in self.step else 1)

    def _macs(self, operation: Operation) -> int:
        if isinstance(operation, Affine):
            return sum(int(np.count_nonzero(self.constants[m].integers)) for m, _ in operation.products)
        if isinstance(operation, Convolve):
            high, wide = operation.geometry.places
            return int(np.count_nonzero(self.constants[operation.weights].integers)) * high * wide
        if isinstance(operation, Pool):
            return 0
        if isinstance(operation, Combine):
            return self.values[operation.out].size * sum(len(term.operands) == 2 for term in operation.terms)
        order: int = self.tables[operation.out].coefficients.shape[1] - 1
        return self.values[operation.out].size * order

    def run(self, x: npt.ArrayLike) -> "Outcome":
        """Run the program on windows x (T, B, D): floats in the units of the data, or integers in the input format.

        Frames come first, whatever the layout of the model was. A torch tensor on the CPU is taken too.

        Raises:
            DataError: another shape, numbers that are not finite, or integers outside the input format.
        """
        from edgesearch.numerics.interpreter import input_integers, run

        given: npt.NDArray[Any] = np.asarray(x)
        integers = given if np.issubdtype(given.dtype, np.integer) else input_integers(self, given.astype(np.float64))
        return run(self, integers.astype(np.int64))

    def save(self, path: str | Path) -> None:
        """Write the program to an .npz file without pickle."""
        from edgesearch.numerics.storage import save

        save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "IntegerProgram":
        """Read a program back.

        Raises:
            ModelFileError: no such file, not a program, another version, truncated or edited.
        """
        from edgesearch.numerics.storage import load

        return load(path)

    def export(self, folder: str | Path, target: str = "c", **options: str) -> None:
        """Write the program for a target into a folder, a new one or one with nothing but an earlier export.

        Args:
            folder: where to.
            target: `c`, `secure` or `ezpc`.
            options: of the target: `prefix` for c.

        Raises:
            ConfigError: the target is unknown, an option does not fit, or the folder has other files.
        """
        if target not in self.exporters:
            raise ConfigError(f"export must be one of {', '.join(self.exporters)}, got {target}; set export=c")
        self.exporters[target](self, Path(folder), **options)


def bounds(operation: Sum, to: Format) -> tuple[int, int]:
    """Return the least and the greatest integer of format `to` that an operation may give."""
    low = getattr(operation, "low", None)
    high = getattr(operation, "high", None)
    least = to.low if low is None else max(to.low, int(to.integers(low)))
    most = to.high if high is None else min(to.high, int(to.integers(high)))
    return least, most


def set_of(tables: Mapping[str, Table]) -> list[Table]:
    """Return each different table once, in order: operations with the same formats share one."""
    return list({id(table): table for table in tables.values()}.values())
