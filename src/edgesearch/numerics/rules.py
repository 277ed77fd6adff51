"""What blocks of a recurrent program's operations give, and the gradients they pass on, as exact integers.

A block is one operation, or several of one kind that can run as one: the gates of a cell. Its results lie side by side.
Arrays end in (rows, units); a step's have two dimensions, those of all steps three.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Fixed, dot, magnitude_bits
from edgesearch.numerics.format import Floats, Format, Ints
from edgesearch.numerics.operations import Affine, Apply, Combine, Operation, Term
from edgesearch.numerics.program import IntegerProgram

Wide = npt.NDArray[Any]  # int64, or Python's integers where those do not suffice
Read = Callable[[str], Ints]
_FLOAT, _WIDE = 53, 62  # bits of exact sums in float64 and in int64


class Exact(NamedTuple):
    """Exact sums: integers, their fraction, and bits that no magnitude exceeds."""

    values: Wide
    fraction: int
    bits: int


def add(into: dict[str, Exact], name: str, more: Exact) -> None:
    """Add to the exact sum that a name has, or begin it."""
    if name not in into:
        into[name] = more
        return
    finest = max(into[name].fraction, more.fraction)
    a, b = (aligned(exact, finest, spare=1) for exact in (into[name], more))
    into[name] = Exact(a.values + b.values, finest, max(a.bits, b.bits) + 1)


def aligned(exact: Exact, fraction: int, spare: int = 0) -> Exact:
    """Return the sums with a finer fraction, of Python's integers where int64 could not hold them and `spare` bits."""
    up, bits = fraction - exact.fraction, exact.bits
    if up + bits + spare > _WIDE:
        bits = magnitude_bits(exact.values)
        kind = np.int64 if up + bits + spare <= _WIDE else object
        exact = Exact(exact.values.astype(kind, copy=False), exact.fraction, bits)
    return Exact(exact.values << up if up else exact.values, fraction, up + bits)


def times(exact: Exact, factor: Ints, bits: int, fraction: int) -> Exact:
    """Return exact sums times integers of at most so many bits, with a fraction of their own."""
    roomy = aligned(exact, exact.fraction, spare=bits)
    return Exact(roomy.values * factor, exact.fraction + fraction, roomy.bits + bits)


class Block:
    """Operations that run as one.

    Attributes:
        operations: their results lie side by side, in this order.
        name: of all of them together.
        size: units of one result.
        to: format of the results.
    """

    def __init__(self, program: IntegerProgram, operations: Sequence[Operation]) -> None:
        self.program, self.operations = program, tuple(operations)
        self.outs = tuple(o.out for o in operations)
        self.name = " ".join(self.outs)
        self.size, self.to = program.size(self.outs[0]), program.format(self.outs[0])

    @property
    def reads(self) -> frozenset[str]:
        """Every operand."""
        return frozenset(name for operation in self.operations for name in operation.reads)

    @property
    def units(self) -> int:
        """Units of all results."""
        return self.size * len(self.outs)

    def part(self, index: int) -> slice:
        """Where the units of one result are."""
        return slice(index * self.size, (index + 1) * self.size)


class AffineBlock(Block):
    """out = sum of matrix @ vector, + bias, over the same vectors."""

    operations: tuple[Affine, ...]

    def __init__(self, program: IntegerProgram, operations: Sequence[Affine]) -> None:
        super().__init__(program, operations)
        first = operations[0]
        self.bounds, self.can_saturate = program.bounds(first), True
        self._common = program.fraction(first)
        self.shift = self._common - self.to.fraction
        self._vectors = [vector for _, vector in first.products]
        self._formats = [program.format(matrix) for matrix, _ in first.products]
        self._align = [self._common - program.product_fraction(*pair) for pair in first.products]
        sums = sum(
            (1 << _room(m) + _room(program.format(v)) + up) * program.size(v)
            for m, v, up in zip(self._formats, self._vectors, self._align, strict=True)
        )
        self._fast = sums.bit_length() < _FLOAT - 1

    def prepare(self, constants: Mapping[str, Ints]) -> None:
        """Take the constants of a batch."""
        matrices = [[constants[o.products[j][0]] for o in self.operations] for j in range(len(self._vectors))]
        self._matrices = [np.concatenate(same) if len(same) > 1 else same[0] for same in matrices]
        self._floats: list[Floats] = [m.astype(np.float64) for m in self._matrices]
        self._transposed = [(m * 2.0**up).T for m, up in zip(self._floats, self._align, strict=True)]
        self._bias = np.zeros(self.units, np.int64)
        for index, operation in enumerate(self.operations):
            if operation.bias is not None:
                up = self._common - self.program.format(operation.bias).fraction
                self._bias[self.part(index)] = constants[operation.bias] << up

    def hoisted(self, read: Read, vectors: frozenset[str]) -> Wide:
        """Return the bias, the products with these vectors, and the half that rounding adds, in the sum's fraction."""
        half = 1 << self.shift - 1 if self.shift > 0 else 0
        return np.asarray(self._bias + half + self._products(read, vectors))

    def total(self, read: Read, vectors: frozenset[str], hoisted: Wide) -> Wide:
        """Return the exact sum: the products with these vectors and what was hoisted."""
        return np.asarray(self._products(read, vectors) + hoisted)

    def _products(self, read: Read, vectors: frozenset[str]) -> Any:
        found: Any = 0
        for vector, matrix, transposed, format, up in zip(
            self._vectors, self._matrices, self._transposed, self._formats, self._align, strict=True
        ):
            if vector not in vectors:
                continue
            if self._fast:
                found = found + read(vector).astype(np.float64) @ transposed
            else:
                x = Fixed(read(vector), self.program.format(vector))
                found = found + (dot(x, Fixed(matrix.T, format)) << up)
        return found.astype(np.int64) if self._fast and not isinstance(found, int) else found

    def backward(self, g: Fixed, read: Read, wanted: frozenset[str]) -> Iterator[tuple[str, Exact]]:
        """Yield what the gradient of the results gives to each wanted vector."""
        for vector, matrix, floats, format in zip(
            self._vectors, self._matrices, self._floats, self._formats, strict=True
        ):
            if vector in wanted:
                bits = g.room + _room(format) + self.units.bit_length()
                if bits < _FLOAT:
                    total: Wide = (g.integers.astype(np.float64) @ floats).astype(np.int64)
                else:
                    total = dot(g, Fixed(matrix, format))
                yield vector, Exact(total, g.format.fraction + format.fraction, bits)

    def constants(self, g: Fixed, read: Read, wanted: frozenset[str]) -> Iterator[tuple[str, Exact]]:
        """Yield what the gradients of all results give to each wanted constant."""
        rows = Fixed(g.integers.reshape(-1, self.units).T, g.format)
        for j, vector in enumerate(self._vectors):
            if any(o.products[j][0] in wanted for o in self.operations):
                x = read(vector)
                to = self.program.format(vector)
                found = dot(rows, Fixed(x.reshape(-1, x.shape[-1]), to))
                bits = g.room + _room(to) + rows.integers.shape[1].bit_length()
                for index, operation in enumerate(self.operations):
                    if operation.products[j][0] in wanted:
                        exact = Exact(found[self.part(index)], g.format.fraction + to.fraction, bits)
                        yield operation.products[j][0], exact
        for index, operation in enumerate(self.operations):
            if operation.bias is not None and operation.bias in wanted:
                total = rows.integers[self.part(index)].sum(axis=1)
                yield operation.bias, Exact(total, g.format.fraction, magnitude_bits(total))


class CombineBlock(Block):
    """out = sum of products of up to two operands, held between bounds."""

    operations: tuple[Combine, ...]

    def __init__(self, program: IntegerProgram, operations: Sequence[Combine]) -> None:
        super().__init__(program, operations)
        (self._operation,) = operations
        # (not of what its trained constants are just now)
        fixed = not any(name in program.constants for name in self.reads)
        self.bounds = program.bounds(self._operation)
        self.can_saturate = not fixed or program.can_saturate(self._operation)
        self._common = program.fraction(self._operation)
        self.shift = self._common - self.to.fraction
        for name in self.reads:
            if program.size(name) not in (1, self.size):
                raise ConfigError(f"{name} goes round in {self.name}, which has no gradient here; set cell=lstm")

    def total(self, read: Read) -> Wide:
        """Return the exact sum, with the half that rounding adds."""
        found: Any = 1 << self.shift - 1 if self.shift > 0 else 0
        for term in self._operation.terms:
            up = self._common - self.program.term_fraction(term)
            product: Any = 1 << up
            if term.operands:
                product = read(term.operands[0])
                if len(term.operands) == 2:
                    product = product * read(term.operands[1])
                product = product << up if up else product
            found = found - product if term.negative else found + product
        return np.asarray(found, np.int64)

    def backward(self, g: Fixed, read: Read, wanted: frozenset[str]) -> Iterator[tuple[str, Exact]]:
        """Yield what the gradient of the result gives to each wanted vector: the other factor's share."""
        for term in self._operation.terms:
            for place, name in enumerate(term.operands):
                if name in wanted and name not in self.program.constants:
                    yield name, self._share(g, term, place, read)

    def constants(self, g: Fixed, read: Read, wanted: frozenset[str]) -> Iterator[tuple[str, Exact]]:
        """Yield what the gradients of all results give to each wanted constant."""
        for term in self._operation.terms:
            for place, name in enumerate(term.operands):
                if name in wanted and name in self.program.constants:
                    share = self._share(g, term, place, read)
                    each = aligned(share, share.fraction, spare=share.values.size.bit_length())
                    total = each.values.reshape(-1, self.size).sum(axis=0)
                    total = total if self.program.size(name) > 1 else total.sum(keepdims=True)
                    yield name, Exact(total, each.fraction, each.bits + share.values.size.bit_length())

    def _share(self, g: Fixed, term: Term, place: int, read: Read) -> Exact:
        total, fraction, bits = g.integers, g.format.fraction - term.power, g.room
        for name in term.operands[:place] + term.operands[place + 1 :]:
            format = self.program.format(name)
            total, fraction, bits = total * read(name), fraction + format.fraction, bits + _room(format)
        return Exact(-total if term.negative else total, fraction, bits)


class ApplyBlock(Block):
    """out = sigmoid or tanh, looked up; the derivative is y (1 - y) or 1 - y^2 of the result y."""

    operations: tuple[Apply, ...]

    def __init__(self, program: IntegerProgram, operations: Sequence[Apply]) -> None:
        super().__init__(program, operations)
        self.sources = tuple(o.source for o in operations)
        self.source = " ".join(self.sources)
        source = program.format(self.sources[0])
        for operation in operations:
            if operation.function not in ("sigmoid", "tanh") or source.bits > 16:
                raise ConfigError(
                    f"sigmoid and tanh of at most 16 bits have a gradient here, got {operation.function} of {source}; "
                    "use quantTanh"
                )
        every, tables = np.arange(source.low, source.high + 1), [program.tables[out] for out in self.outs]
        different = list({id(table): table for table in tables}.values())
        self._lookup = np.concatenate([table(every) for table in different]).astype(np.int32)
        starts = [len(every) * next(i for i, d in enumerate(different) if d is table) for table in tables]
        self._starts = np.repeat(np.array(starts) - source.low, self.size)
        # 1 - y^2 = (1 + y)(1 - y) for tanh, y (1 - y) for sigmoid
        self._one = 1 << self.to.fraction
        self._offset = np.repeat([self._one * (o.function == "tanh") for o in operations], self.size)

    def value(self, x: Ints) -> Ints:
        """Return the functions of x (..., units)."""
        return np.asarray(self._lookup.take(x + self._starts), np.int64)

    def slope(self, y: Ints) -> Ints:
        """Return the exact derivatives where the functions are y (..., units), with twice the fraction."""
        return np.asarray((y + self._offset) * (self._one - y))

    def backward(self, g: Fixed, slope: Ints) -> Exact:
        """Return what the gradient of the results gives to the sources."""
        return Exact(g.integers * slope, g.format.fraction + 2 * self.to.fraction, g.room + 2 * self.to.fraction)


AnyBlock = AffineBlock | CombineBlock | ApplyBlock


def blocks(program: IntegerProgram, operations: Sequence[Operation]) -> list[AnyBlock]:
    """Return operations as blocks, in an order in which they can run.

    Raises:
        ConfigError: one has no gradient here.
    """
    found: list[AnyBlock] = []
    left = list(operations)
    while left:
        first = left[0]
        if isinstance(first, Affine):
            block: AnyBlock = AffineBlock(
                program, [o for o in left if isinstance(o, Affine) and _alike(program, first, o)]
            )
        elif isinstance(first, Combine):
            block = CombineBlock(program, [first])
        elif isinstance(first, Apply):
            block = ApplyBlock(program, _applied(program, first, left, found))
        else:
            raise ConfigError(f"{first.out} slides over a map, which has no gradient here; set train.arithmetic=float")
        found.append(block)
        left = [o for o in left if o not in block.operations]
    return found


def _applied(program: IntegerProgram, first: Apply, left: Sequence[Operation], found: Sequence[Block]) -> list[Apply]:
    """Return the functions of all results of the block that `first` reads, in their order, or `first` alone."""
    whole = next((b.outs for b in found if isinstance(b, AffineBlock) and first.source in b.outs), ())
    alike = {o.source: o for o in left if isinstance(o, Apply) and o.source in whole}
    if len(alike) < len(whole) or not whole or len({program.format(o.out) for o in alike.values()}) > 1:
        return [first]
    return [alike[source] for source in whole]


def _alike(program: IntegerProgram, a: Affine, b: Affine) -> bool:
    """Tell whether two affine operations can run as one: other matrices and biases, all else the same."""

    def shape(o: Affine) -> tuple[Any, ...]:
        matrices = tuple((program.format(m), v) for m, v in o.products)
        bias = None if o.bias is None else program.format(o.bias)
        return program.values[o.out], matrices, bias

    return shape(a) == shape(b)


def _room(format: Format) -> int:
    return format.bits - format.signed
