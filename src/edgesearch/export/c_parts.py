"""Constants and functions of exported C: packed arrays, dot products for every storage that occurs, tables."""

from collections.abc import Iterator

import numpy as np

from edgesearch.export.c_symbols import Symbols
from edgesearch.export.layout import container_bits
from edgesearch.numerics.approximation import Table
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.operations import Affine, Operation
from edgesearch.numerics.packing import bitmap, index_bytes, packed, stored_bits
from edgesearch.numerics.program import Constant, IntegerProgram, set_of

_PER_LINE = 20
DotKey = tuple[str, int, str, str, str]  # encoding, bits of a weight, types of the vector, the sum and an index


def c_type(format: Format) -> str:
    """Return the C type that holds a format."""
    return f"{'int' if format.signed else 'uint'}{container_bits(format.bits)}_t"


def sum_type(program: IntegerProgram, operation: Operation) -> str:
    """Return the C type in which an operation adds."""
    return "int32_t" if program.sum_bits(operation) <= 32 else "int64_t"


def index_type(constant: Constant) -> str:
    """Return the C type of a sparse matrix's column numbers."""
    return f"uint{8 * index_bytes(constant.integers.shape[1])}_t"


def table_names(program: IntegerProgram, symbols: Symbols) -> dict[str, str]:
    """Return the function of each applied table by the name of its result."""
    tables = set_of(program.tables)
    return {out: symbols.of(f"{t.function}_{tables.index(t)}") for out, t in program.tables.items()}


def numbers(values: Ints) -> Iterator[str]:
    """Lines of an initializer; C has no empty ones."""
    flat = [str(int(v)) for v in values.reshape(-1)] or ["0"]
    for start in range(0, len(flat), _PER_LINE):
        yield "  " + ", ".join(flat[start : start + _PER_LINE]) + ","


def power(kind: str, exponent: int) -> str:
    """Return 2 ** exponent as a number of a C type."""
    return f"({kind}){1 << exponent}" + ("LL" if exponent > 30 else "")


class Parts:
    """Prints what stands before a program's own functions."""

    def __init__(self, program: IntegerProgram, symbols: Symbols) -> None:
        self.program, self.symbols = program, symbols
        self._rom = symbols.macro("ROM")

    def constants(self) -> Iterator[str]:
        """Arrays of weights, biases and scalars; numbers of size 1 appear where they are used."""
        for name, constant in self.program.constants.items():
            if constant.integers.ndim > 1:
                yield from self._matrix(name, constant)
            elif constant.integers.size > 1:
                yield from self._array(c_type(constant.format), self.symbols.constant(name), constant.integers)

    def _array(self, kind: str, name: str, values: Ints) -> Iterator[str]:
        yield f"static {self._rom} {kind} {name}[] {self.symbols.macro('PLACE')} = {{"
        yield from numbers(values)
        yield "};"

    def _matrix(self, name: str, constant: Constant) -> Iterator[str]:
        matrix, symbols = constant.integers, self.symbols
        if constant.encoding == "bitmap":
            bits = np.frombuffer(bitmap(matrix), np.uint8).astype(np.int64)
            yield from self._array("uint8_t", symbols.constant(name, "bits"), bits)
        if constant.encoding == "index":
            index = index_type(constant)
            yield from self._array(index, symbols.constant(name, "counts"), (matrix != 0).sum(axis=1))
            yield from self._array(index, symbols.constant(name, "columns"), np.nonzero(matrix)[1])
        values = matrix if constant.encoding == "dense" else matrix[matrix != 0]
        width = stored_bits(constant.format)
        if width < 8:
            values = np.frombuffer(packed(values, constant.format), np.uint8).astype(np.int64)
        yield from self._array("uint8_t" if width < 8 else f"int{width}_t", symbols.constant(name), values)

    def functions(self) -> Iterator[str]:
        """Dot products and approximated functions."""
        keys = {
            dot_key(self.program, operation, matrix, vector): None
            for operation in (*self.program.step, *self.program.head)
            if isinstance(operation, Affine)
            for matrix, vector in operation.products
        }
        for key in keys:
            yield self._dot(key)
        names = table_names(self.program, self.symbols)
        for table in set_of(self.program.tables):
            name = next(names[out] for out, own in self.program.tables.items() if own is table)
            yield from self._table(name, table)

    def _dot(self, key: DotKey) -> str:
        encoding, bits, x, kind, index = key
        at, w = self.symbols.macro("AT"), "uint8_t" if bits < 8 else f"int{bits}_t"

        def weight(place: str) -> str:
            if bits >= 8:
                return f"{at}({w}, w + {place})"
            return f"{self.symbols.of(f'unpacked_{bits}')}(w, {place})"

        if encoding == "dense":
            place = "k" if bits >= 8 else "from + (uint32_t)k"
            body = f"  for (k = 0; k < n; k++) sum += ({kind}){weight(place)} * x[k];\n"
            arguments = f"{self._rom} {w} *w, {'' if bits >= 8 else 'uint32_t from, '}const {x} *x, size_t n"
        elif encoding == "bitmap":
            present = f"{at}(uint8_t, bits + (k >> 3)) >> (k & 7) & 1"
            body = f"  for (k = 0; k < n; k++)\n    if ({present}) sum += ({kind}){weight('(*from)++')} * x[k];\n"
            arguments = f"{self._rom} {w} *w, uint32_t *from, {self._rom} uint8_t *bits, const {x} *x, size_t n"
        else:
            column = f"{at}({index}, (*at)++)"
            body = f"  for (k = 0; k < n; k++) sum += ({kind}){weight('(*from)++')} * x[{column}];\n"
            arguments = f"{self._rom} {w} *w, uint32_t *from, {self._rom} {index} **at, size_t n, const {x} *x"
        head = f"static {kind} {dot_name(key, self.symbols)}({arguments}) {{\n  {kind} sum = 0;\n  size_t k;\n"
        return f"{head}{body}  return sum;\n}}\n"

    def _table(self, name: str, table: Table) -> Iterator[str]:
        order = table.coefficients.shape[1] - 1
        rounded, at = self.symbols.macro("ROUND_SHIFT"), self.symbols.macro("AT")
        yield from self._array("int16_t", f"{name}_table", table.coefficients)
        yield f"/* {table.function}, {table.source} to {table.to}: worst error {table.error:.2e} over every input */"
        yield f"static int32_t {name}(int32_t x) {{"
        yield "  const int32_t m = x < 0 ? -x : x;"
        yield f"  int32_t y = {table.last};"
        yield f"  if (m < {table.limit}) {{"
        yield f"    {self._rom} int16_t *c = {name}_table + (m >> {table.segment_bits}) * {order + 1};"
        yield f"    const int32_t d = m & {(1 << table.segment_bits) - 1};"
        yield f"    y = {at}(int16_t, c + {order});"
        for k, shift in zip(range(order - 1, -1, -1), table.shifts, strict=True):
            coefficient = f"{at}(int16_t, c + {k})"
            if k == 0:
                total = f"y * d + {coefficient} * {power('int32_t', shift)}"
                yield f"    y = {f'{rounded}(int32_t, {total}, {shift})' if shift else total};"
            else:
                yield f"    y = {f'{rounded}(int32_t, y * d, {shift})' if shift else 'y * d'} + {coefficient};"
        yield "  }"
        mirrored = f"{1 << table.to.fraction} - y" if table.function == "sigmoid" else "-y"
        yield f"  if (x < 0) y = {mirrored};"
        yield f"  return {self.symbols.macro('CLAMP')}(int32_t, y, {table.bounds[0]}, {table.bounds[1]});"
        yield "}\n"


def dot_key(program: IntegerProgram, operation: Affine, matrix: str, vector: str) -> DotKey:
    """Return what tells one dot product from another."""
    constant = program.constants[matrix]
    index = index_type(constant) if constant.encoding == "index" else ""
    x = c_type(program.format(vector))
    return constant.encoding, stored_bits(constant.format), x, sum_type(program, operation), index


def dot_name(key: DotKey, symbols: Symbols) -> str:
    """Return the name of a dot product."""
    encoding, bits, x, kind, index = key
    where = f"_{index.removesuffix('_t')}" if index else ""
    return symbols.of(f"dot_{encoding}_{bits}_{x.removesuffix('_t')}_{kind.removesuffix('_t')}{where}")
