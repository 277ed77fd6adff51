"""The statements of a step and of the head in C: one loop for the operations that share their units."""

from collections.abc import Iterator

from edgesearch.export.c_parts import c_type, dot_key, dot_name, index_type, power, sum_type, table_names
from edgesearch.export.c_sliding import convolution, pooling
from edgesearch.export.c_symbols import Symbols, array, unit
from edgesearch.export.layout import Layout, Loop, layout, shared
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Operation, Pool, Sum
from edgesearch.numerics.program import IntegerProgram


class Loops:
    """Prints the loops of a program."""

    def __init__(self, program: IntegerProgram, symbols: Symbols) -> None:
        self.program, self.symbols = program, symbols
        self.layout: Layout = layout(program)
        self.shared = shared(program, self.layout)
        self._number = {o.out: k for k, o in enumerate((*program.step, *program.head))}
        self._table = table_names(program, symbols)

    def lines(self, loops: list[Loop], *given: str) -> Iterator[str]:
        """The statements of a step or of the head, of whose arguments those `given` are read by none of them."""
        yield from (f"  (void){name};" for name in given)
        local = sorted({name for loop in loops for name in loop.gives} & self.layout.arrays - {self.program.logits})
        if self.shared.offsets.keys() & set(local):
            yield f"  int{8 * self.shared.unit}_t memory[{self.shared.size // self.shared.unit}];"
        for name in local:
            value = self.program.values[name]
            kind = c_type(value.format)
            if name in self.shared.offsets:
                turn, at = self.symbols.of(f"turn_{kind}"), self.shared.offsets[name] // self.shared.unit
                yield f"  {turn} *const {array(name)} = ({turn} *)(memory + {at});"
            else:
                yield f"  {kind} {array(name)}[{value.size}];"
        yield "  size_t i;"
        for loop in loops:
            yield from self._slide(loop) if loop.slides else self._loop(loop)
            for state in loop.finishes:
                size, source = self.program.values[state].size, self.program.states[state]
                yield f"  for (i = 0; i < {size}; i++) s->{array(state)}[i] = {array(source)}[i];"

    def _loop(self, loop: Loop) -> Iterator[str]:
        yield "  {"
        for operation in loop.operations:
            if isinstance(operation, Affine):
                yield from self._runs(operation)
        yield f"    for (i = 0; i < {loop.size}; i++) {{"
        inside: set[str] = set()
        for operation in loop.operations:
            yield from ("      " + line for line in self._operation(operation, inside))
            inside.add(operation.out)
        yield "    }"
        yield "  }"

    def _runs(self, operation: Affine) -> Iterator[str]:
        """Where the sparse rows of an operation's matrices have come to."""
        for number, (matrix, _) in enumerate(operation.products):
            constant = self.program.constants[matrix]
            if constant.encoding == "index":
                columns = self.symbols.constant(matrix, "columns")
                kind = f"{self.symbols.macro('ROM')} {index_type(constant)}"
                yield f"    {kind} *{operation.out}_{number}_at = {columns};"
            if constant.encoding != "dense":
                yield f"    uint32_t {operation.out}_{number}_from = 0;"

    def _slide(self, loop: Loop) -> Iterator[str]:
        (operation,) = loop.operations
        assert isinstance(operation, Convolve | Pool)
        source, kind = self._vector(operation.source), sum_type(self.program, operation)
        convolves = isinstance(operation, Convolve)
        yield "  {"
        yield f"    int oc, oy, ox, ky, kx{', ic' if convolves else ''};"
        yield "    i = 0;"
        if isinstance(operation, Convolve):
            yield from convolution(self.program, operation, source, kind, self.symbols)
        else:
            yield from pooling(self.program, operation, source, kind)
        yield from ("      " + line for line in self._stored(operation, "sum", kind))
        yield "    }"
        yield "  }"

    def _vector(self, name: str) -> str:
        """A value as a whole array."""
        if name == "window":
            return "s->window"
        if name in self.program.states:
            return f"s->{array(name)}"
        return "frame" if name == "input" else array(name)

    def _operation(self, operation: Operation, inside: set[str]) -> Iterator[str]:
        """The statements of one unit."""
        if isinstance(operation, Apply):
            out, x = operation.out, self._unit(operation.source, inside)
            yield f"const int32_t {unit(out)} = {self._table[out]}({x});"
            yield from self._kept(out)
            return
        assert isinstance(operation, Affine | Combine)
        kind = sum_type(self.program, operation)
        if isinstance(operation, Affine):
            total = self._affine(operation, kind)
        else:
            total = self._combine(operation, kind, inside)
        yield from self._stored(operation, total, kind)

    def _stored(self, operation: Sum, total: str, kind: str) -> Iterator[str]:
        """Round an exact sum, hold it to its bounds and keep it."""
        program, out = self.program, operation.out
        shift = program.fraction(operation) - program.format(out).fraction
        low, high = program.bounds(operation)
        if shift > 0:
            rounded = f"{self.symbols.macro('ROUND_SHIFT')}({kind}, {total}, {shift})"
        else:
            rounded = _scaled(f"({total})", kind, -shift)
        clamp = self.symbols.macro("CLAMP")
        held = f"{clamp}({kind}, {rounded}, {low}, {high})" if program.can_saturate(operation) else f"({rounded})"
        yield f"const int32_t {unit(out)} = (int32_t){held};"
        yield from self._kept(out)

    def _kept(self, out: str) -> Iterator[str]:
        """Trace a result, and store it where it is needed later."""
        kind = c_type(self.program.format(out))
        yield f"{self.symbols.macro('TRACE')}({self._number[out]}, i, {unit(out)});"
        if out in self.layout.arrays:
            yield f"{'logits' if out == self.program.logits else array(out)}[i] = ({kind}){unit(out)};"
        for state in self.layout.in_place:
            if self.program.states[state] == out:
                yield f"s->{array(state)}[i] = ({kind}){unit(out)};"

    def _affine(self, operation: Affine, kind: str) -> str:
        program, common = self.program, self.program.fraction(operation)
        parts = []
        for number, (matrix, vector) in enumerate(operation.products):
            dot = self._dot(operation, number)
            parts.append(_scaled(dot, kind, common - program.product_fraction(matrix, vector)))
        if operation.bias is not None:
            bias = f"({kind}){self._unit(operation.bias, set())}"
            parts.append(_scaled(bias, kind, common - program.format(operation.bias).fraction))
        return " + ".join(parts)

    def _dot(self, operation: Affine, number: int) -> str:
        """A call of a dot product of row i. Sparse rows follow each other: `from` and `at` run through them."""
        matrix, vector = operation.products[number]
        run = f"{operation.out}_{number}"
        key = dot_key(self.program, operation, matrix, vector)
        columns = self.program.constants[matrix].integers.shape[1]
        called, weights = dot_name(key, self.symbols), self.symbols.constant(matrix)
        x = f"(const {key[2]} *){self._vector(vector)}" if vector in self.shared.offsets else self._vector(vector)
        if key[0] == "dense":
            row = f"{weights} + i * {columns}" if key[1] >= 8 else f"{weights}, (uint32_t)i * {columns}"
            return f"{called}({row}, {x}, {columns})"
        if key[0] == "bitmap":
            row = f"{self.symbols.constant(matrix, 'bits')} + i * {-(-columns // 8)}"
            return f"{called}({weights}, &{run}_from, {row}, {x}, {columns})"
        counts = f"{self.symbols.constant(matrix, 'counts')} + i"
        count = f"{self.symbols.macro('AT')}({index_type(self.program.constants[matrix])}, {counts})"
        return f"{called}({weights}, &{run}_from, &{run}_at, {count}, {x})"

    def _combine(self, operation: Combine, kind: str, inside: set[str]) -> str:
        common, text = self.program.fraction(operation), ""
        for term in operation.terms:
            align = common - self.program.term_fraction(term)
            size = self.program.values[operation.out].size
            factors = [self._unit(name, inside, size) for name in term.operands] or ["1"]
            product = " * ".join((f"({kind}){factors[0]}", *factors[1:]))
            text += f"{' - ' if term.negative else ' + '}{_scaled(product, kind, align)}"
        return text.removeprefix(" + ").lstrip()

    def _unit(self, name: str, inside: set[str], size: int = 0) -> str:
        """A value or constant at unit i; one of fewer than `size` units goes round."""
        own = self.program.size(name)
        at = "i" if own >= size else f"i % {own}"
        if name in self.program.constants:
            constant = self.program.constants[name]
            if own == 1:
                return f"({int(constant.integers[0])})"
            return f"{self.symbols.macro('AT')}({c_type(constant.format)}, {self.symbols.constant(name)} + {at})"
        return unit(name) if name in inside else f"{self._vector(name)}[{at}]"


def _scaled(text: str, kind: str, align: int) -> str:
    return f"{text} * {power(kind, align)}" if align else text
