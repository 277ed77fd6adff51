"""What each operation of a recurrent program gives, and the gradients it passes on, as exact integers before rounding.

Arrays end in (rows, units); a step's have two dimensions, those of all steps three.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Fixed, dot, magnitude_bits
from edgesearch.numerics.format import Floats, Format, Ints
from edgesearch.numerics.operations import Affine, Apply, Combine, Operation, Term
from edgesearch.numerics.program import IntegerProgram

Wide = npt.NDArray[Any]  # int64, or Python's integers where those do not suffice
Exact = tuple[Wide, int]  # integers and their fraction
Read = Callable[[str], Ints]
_FLOAT, _WIDE = 53, 62  # bits of exact sums in float64 and in int64


def add(into: dict[str, Exact], name: str, more: Exact) -> None:
    """Add to the exact sum that a name has, or begin it."""
    if name not in into:
        into[name] = more
        return
    (a, fraction), (b, other) = into[name], more
    if fraction != other:
        finest = max(fraction, other)
        a, b = shifted(a, finest - fraction), shifted(b, finest - other)
        fraction = finest
    into[name] = a + b, fraction


def shifted(values: Wide, up: int) -> Wide:
    """Return values * 2 ** up, of Python's integers where int64 would not hold them."""
    if up and magnitude_bits(values) + up >= _WIDE:
        values = values.astype(object)
    return values << up


class AffineRule:
    """out = sum of matrix @ vector, + bias."""

    def __init__(self, program: IntegerProgram, operation: Affine) -> None:
        self._program, self.operation = program, operation
        self._common, self.bounds = program.fraction(operation), program.bounds(operation)
        self.shift = self._common - program.format(operation.out).fraction
        self._align = {m: self._common - program.product_fraction(m, v) for m, v in operation.products}
        bits = sum(
            2 ** (_room(program.format(m)) + _room(program.format(v)) + self._align[m]) * program.size(v)
            for m, v in operation.products
        )
        self._fast = bits.bit_length() < _FLOAT - 1
        self._matrices: dict[str, Floats] = {}

    def prepare(self, constants: Mapping[str, Ints]) -> None:
        """Take the constants of a batch."""
        self._constants = constants
        if self._fast:
            self._matrices = {m: constants[m].T * 2.0**up for m, up in self._align.items()}

    def bias(self) -> Wide | int:
        """The bias, in the sum's fraction."""
        if self.operation.bias is None:
            return 0
        return self._constants[self.operation.bias] << (
            self._common - self._program.format(self.operation.bias).fraction
        )

    def total(self, read: Read, vectors: frozenset[str] | None = None) -> Wide | int:
        """Return the exact sum of the products, or of those with `vectors`, without the bias."""
        found: Any = 0
        for matrix, vector in self.operation.products:
            if vectors is not None and vector not in vectors:
                continue
            if self._fast:
                found = found + read(vector).astype(np.float64) @ self._matrices[matrix]
            else:
                m = Fixed(self._constants[matrix].T, self._program.format(matrix))
                exact = dot(Fixed(read(vector), self._program.format(vector)), m)
                found = found + shifted(exact, self._align[matrix])
        return found.astype(np.int64) if self._fast and not isinstance(found, int) else found

    def backward(self, g: Fixed, read: Read, wanted: frozenset[str]) -> Iterator[tuple[str, Exact]]:
        """Yield what the gradient of the result gives to each wanted vector."""
        for matrix, vector in self.operation.products:
            if vector in wanted:
                m = Fixed(self._constants[matrix], self._program.format(matrix))
                yield vector, (dot(g, m), g.format.fraction + m.format.fraction)

    def constants(self, g: Fixed, read: Read, wanted: frozenset[str]) -> Iterator[tuple[str, Exact]]:
        """Yield what the gradients of all results give to each wanted constant."""
        rows = Fixed(g.integers.reshape(-1, g.integers.shape[-1]).T, g.format)
        for matrix, vector in self.operation.products:
            if matrix in wanted:
                v = read(vector)
                x = Fixed(v.reshape(-1, v.shape[-1]), self._program.format(vector))
                yield matrix, (dot(rows, x), g.format.fraction + x.format.fraction)
        if self.operation.bias in wanted and self.operation.bias is not None:
            yield self.operation.bias, (rows.integers.sum(axis=1), g.format.fraction)


class CombineRule:
    """out = sum of products of up to two operands, held between bounds."""

    def __init__(self, program: IntegerProgram, operation: Combine) -> None:
        self._program, self.operation = program, operation
        self._common, self.bounds = program.fraction(operation), program.bounds(operation)
        self.shift = self._common - program.format(operation.out).fraction
        size = program.size(operation.out)
        for name in operation.reads:
            if program.size(name) not in (1, size):
                raise ConfigError(f"{name} goes round in {operation.out}, which has no gradient here; set cell=lstm")

    def prepare(self, constants: Mapping[str, Ints]) -> None:
        """Constants are read by name."""

    def bias(self) -> int:
        """None."""
        return 0

    def total(self, read: Read, vectors: frozenset[str] | None = None) -> Wide | int:
        """Return the exact sum."""
        found: Any = 0
        for term in self.operation.terms:
            up = self._common - self._program.term_fraction(term)
            product: Any = 1 << up
            if term.operands:
                product = read(term.operands[0])
                if len(term.operands) == 2:
                    product = product * read(term.operands[1])
                product = product << up if up else product
            found = found - product if term.negative else found + product
        return found

    def backward(self, g: Fixed, read: Read, wanted: frozenset[str]) -> Iterator[tuple[str, Exact]]:
        """Yield what the gradient of the result gives to each wanted vector: the other factor's share."""
        for term in self.operation.terms:
            for place, name in enumerate(term.operands):
                if name in wanted and name not in self._program.constants:
                    yield name, self._share(g, term, place, read)

    def constants(self, g: Fixed, read: Read, wanted: frozenset[str]) -> Iterator[tuple[str, Exact]]:
        """Yield what the gradients of all results give to each wanted constant."""
        for term in self.operation.terms:
            for place, name in enumerate(term.operands):
                if name in wanted and name in self._program.constants:
                    share, fraction = self._share(g, term, place, read)
                    flat = share.reshape(-1, share.shape[-1])
                    if magnitude_bits(flat) + flat.size.bit_length() > _WIDE:
                        flat = flat.astype(object)
                    yield name, (flat.sum(axis=0) if self._program.size(name) > 1 else flat.sum(keepdims=True)[0], fraction)

    def _share(self, g: Fixed, term: Term, place: int, read: Read) -> Exact:
        others = term.operands[:place] + term.operands[place + 1 :]
        total, fraction = g.integers, g.format.fraction - term.power
        for name in others:
            total, fraction = total * read(name), fraction + self._program.format(name).fraction
        return (-total if term.negative else total), fraction


class ApplyRule:
    """out = sigmoid or tanh, looked up; its derivative is y (1 - y) or 1 - y^2 of the result y."""

    def __init__(self, program: IntegerProgram, operation: Apply) -> None:
        self._program, self.operation = program, operation
        source = program.format(operation.source)
        if operation.function not in ("sigmoid", "tanh") or source.bits > 16:
            raise ConfigError(
                f"sigmoid and tanh of at most 16 bits have a gradient here, got {operation.function} of {source}; "
                "use quantTanh"
            )
        # negative integers find theirs from the end
        every = np.concatenate((np.arange(source.high + 1), np.arange(source.low, 0)))
        self._values = program.tables[operation.out](every)

    def value(self, read: Read) -> Ints:
        """Return the function's values."""
        return self._values[read(self.operation.source)]

    def slope(self, y: Ints) -> Ints:
        """Return the exact derivative where the function is y, with twice its fraction."""
        one = 1 << self._program.format(self.operation.out).fraction
        return y * (one - y) if self.operation.function == "sigmoid" else one * one - y * y

    def backward(self, g: Fixed, slope: Ints) -> tuple[str, Exact]:
        """Return what the gradient of the result gives to the source."""
        fraction = 2 * self._program.format(self.operation.out).fraction
        return self.operation.source, (g.integers * slope, g.format.fraction + fraction)


Rule = AffineRule | CombineRule | ApplyRule


def rule_of(program: IntegerProgram, operation: Operation) -> Rule:
    """Return the rule of an operation.

    Raises:
        ConfigError: it has no gradient here.
    """
    if isinstance(operation, Affine):
        return AffineRule(program, operation)
    if isinstance(operation, Combine):
        return CombineRule(program, operation)
    if isinstance(operation, Apply):
        return ApplyRule(program, operation)
    raise ConfigError(f"{operation.out} slides over a map, which has no gradient here; set train.arithmetic=float")


def _room(format: Format) -> int:
    return format.bits - format.signed
