"""Integer programs as C99: one folder with the model, golden vectors, a self-test, a Makefile and a README.

No malloc, no floats, no library calls. Values of one loop are local variables; sparse matrices stay sparse; constants
are packed to their widths. Right shifts of negative numbers must be arithmetic, which a line of model.c checks.
"""

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill, indent

import numpy as np

from edgesearch.export.files import worded, write_folder
from edgesearch.export.frames import c_helper, c_words
from edgesearch.export.layout import Layout, Loop, container_bits, layout, ram_bytes, shared
from edgesearch.export.sliding import convolution, pooling
from edgesearch.export.text import FRONT_END, HEADER, MAKEFILE, PRELUDE, SELFTEST, TAIL, WINDOW_STEP, readme
from edgesearch.numerics.approximation import Table
from edgesearch.numerics.format import Format, Ints
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Operation, Pool, Sum
from edgesearch.numerics.packing import bitmap, index_bytes, packed, stored_bits
from edgesearch.numerics.program import Constant, IntegerProgram, set_of

_PER_LINE = 20
_GOLDEN = 4  # windows drawn at random besides the extreme ones


def export_c(program: IntegerProgram, folder: Path) -> None:
    """Write the C folder; it is complete or not there.

    Raises:
        ConfigError: there is something else than an earlier export.
        OSError: the folder cannot be written.
    """
    write_folder(folder, files(program), frozenset({"selftest"}))


def files(program: IntegerProgram) -> dict[str, str]:
    """Return the files of the C folder by name."""
    return {
        "model.h": header(program),
        "model.c": source(program),
        "golden.h": golden(program),
        "selftest.c": SELFTEST,
        "Makefile": MAKEFILE,
        "README.md": readme(program, ram_bytes(program)),
    }


def header(program: IntegerProgram) -> str:
    """Return model.h."""
    lines = [f"  {c_type(program.values[name].format)} {name}[{program.values[name].size}];" for name in program.states]
    if program.reads_window:
        lines += ["  model_input window[MODEL_STEPS * MODEL_INPUTS];", "  int32_t frames;"]
    states = "\n".join(lines)
    front_end = program.about.get(FRONT_END)
    frames = "" if front_end is None else fill(f"Frames are {worded(front_end)}.", 112)
    return HEADER.format(
        steps=program.steps, inputs=program.inputs, classes=program.classes, states=states,
        words=c_words(program), helper=c_helper(program), input=c_type(program.values["input"].format),
        logit=c_type(program.values[program.logits].format),
        frames=f"\n\n{indent(frames, '   ')}" if frames else "",
    )  # fmt: skip


def source(program: IntegerProgram) -> str:
    """Return model.c."""
    printer = _Printer(program)
    step = "\n".join(printer.loops(printer.layout.step))
    head = "\n".join(printer.loops(printer.layout.head))
    resets = "\n".join(f"  for (i = 0; i < {program.values[s].size}; i++) s->{s}[i] = 0;" for s in program.states)
    if program.reads_window:
        step = f"{step}\n{WINDOW_STEP}"
        resets += "\n  for (i = 0; i < MODEL_STEPS * MODEL_INPUTS; i++) s->window[i] = 0;\n  s->frames = 0;"
    return "\n".join(
        (PRELUDE, *printer.constants(), *printer.functions(), TAIL.format(step=step, head=head, resets=resets))
    )


def golden(program: IntegerProgram) -> str:
    """Return golden.h: windows with the logits and answers that the interpreter gives."""
    given = program.values["input"].format
    generator = np.random.default_rng(0)
    x = generator.integers(given.low, given.high + 1, (program.steps, _GOLDEN + 3, program.inputs))
    x[:, 0], x[:, 1], x[:, 2] = given.low, given.high, 0
    outcome = run(program, x)
    return "\n".join(
        (
            f"#define GOLDEN {x.shape[1]}",
            "static const model_input golden_windows[] = {",
            *_numbers(x.transpose(1, 0, 2)),
            "};",
            "static const model_logit golden_logits[] = {",
            *_numbers(outcome.logits),
            "};",
            "static const int golden_answers[] = {",
            *_numbers(outcome.answers),
            "};\n",
        )
    )


def c_type(format: Format) -> str:
    """Return the C type that holds a format."""
    return f"{'int' if format.signed else 'uint'}{container_bits(format.bits)}_t"


def _numbers(values: Ints) -> Iterator[str]:
    """Lines of an initializer; C has no empty ones."""
    flat = [str(int(v)) for v in values.reshape(-1)] or ["0"]
    for start in range(0, len(flat), _PER_LINE):
        yield "  " + ", ".join(flat[start : start + _PER_LINE]) + ","


class _Printer:
    def __init__(self, program: IntegerProgram) -> None:
        self.program = program
        self.layout: Layout = layout(program)
        self.shared = shared(program, self.layout)
        self._number = {o.out: k for k, o in enumerate((*program.step, *program.head))}
        self._table = {out: f"{t.function}_{set_of(program.tables).index(t)}" for out, t in program.tables.items()}

    # ---- constants and functions ------------------------------------------------------------------------------

    def constants(self) -> Iterator[str]:
        """Arrays of weights, biases and scalars; numbers of size 1 appear where they are used."""
        for name, constant in self.program.constants.items():
            if constant.integers.ndim > 1:
                yield from self._matrix(name, constant)
            elif constant.integers.size > 1:
                yield f"static ROM {c_type(constant.format)} {name}[] = {{"
                yield from _numbers(constant.integers)
                yield "};"

    def _matrix(self, name: str, constant: Constant) -> Iterator[str]:
        matrix = constant.integers
        index = f"uint{8 * index_bytes(matrix.shape[1])}_t"
        if constant.encoding == "bitmap":
            yield f"static ROM uint8_t {name}_bits[] = {{"
            yield from _numbers(np.frombuffer(bitmap(matrix), np.uint8).astype(np.int64))
            yield "};"
        if constant.encoding == "index":
            for part, values in (("counts", (matrix != 0).sum(axis=1)), ("columns", np.nonzero(matrix)[1])):
                yield f"static ROM {index} {name}_{part}[] = {{"
                yield from _numbers(values)
                yield "};"
        values = matrix if constant.encoding == "dense" else matrix[matrix != 0]
        bits = stored_bits(constant.format)
        yield f"static ROM {'uint8_t' if bits < 8 else f'int{bits}_t'} {name}[] = {{"
        if bits < 8:
            values = np.frombuffer(packed(values, constant.format), np.uint8).astype(np.int64)
        yield from _numbers(values)
        yield "};"

    def functions(self) -> Iterator[str]:
        """Dot products for every storage that occurs, and approximated functions."""
        made = set()
        for operation in (*self.program.step, *self.program.head):
            if isinstance(operation, Affine):
                for matrix, vector in operation.products:
                    key = self._dot_key(operation, matrix, vector)
                    if key not in made:
                        made.add(key)
                        yield _dot_function(*key)
        for table in set_of(self.program.tables):
            yield from _table_function(f"{table.function}_{set_of(self.program.tables).index(table)}", table)

    def _dot_key(self, operation: Affine, matrix: str, vector: str) -> tuple[str, int, str, str, str]:
        constant = self.program.constants[matrix]
        listed = constant.encoding == "index"
        index = f"uint{8 * index_bytes(constant.integers.shape[1])}_t" if listed else ""
        x = c_type(self.program.format(vector))
        return constant.encoding, stored_bits(constant.format), x, self._sum(operation), index

    def _sum(self, operation: Operation) -> str:
        return "int32_t" if self.program.sum_bits(operation) <= 32 else "int64_t"

    # ---- loops ------------------------------------------------------------------------------------------------

    def loops(self, loops: list[Loop]) -> Iterator[str]:
        """The statements of a step or of the head."""
        local = sorted({name for loop in loops for name in loop.gives} & self.layout.arrays - {self.program.logits})
        if self.shared.offsets.keys() & set(local):
            yield f"  int16_t memory_[{self.shared.size // 2}];"
        for name in local:
            value = self.program.values[name]
            kind = c_type(value.format)
            if name in self.shared.offsets:
                yield f"  {kind} *const {name} = ({kind} *)(memory_ + {self.shared.offsets[name] // 2});"
            else:
                yield f"  {kind} {name}[{value.size}];"
        yield "  int i;"
        for loop in loops:
            yield from self._slide(loop) if loop.slides else self._loop(loop)
            for state in loop.finishes:
                size, source = self.program.values[state].size, self.program.states[state]
                yield f"  for (i = 0; i < {size}; i++) s->{state}[i] = {source}[i];"

    def _loop(self, loop: Loop) -> Iterator[str]:
        yield "  {"
        for operation in loop.operations:
            if isinstance(operation, Affine):
                for number, (matrix, _) in enumerate(operation.products):
                    encoding = self.program.constants[matrix].encoding
                    index = f"uint{8 * index_bytes(self.program.constants[matrix].integers.shape[1])}_t"
                    if encoding == "index":
                        yield f"    ROM {index} *at_{operation.out}{number} = {matrix}_columns;"
                    if encoding != "dense":
                        yield f"    uint32_t from_{operation.out}{number} = 0;"
        yield f"    for (i = 0; i < {loop.size}; i++) {{"
        inside: set[str] = set()
        for operation in loop.operations:
            yield from ("      " + line for line in self._operation(operation, inside))
            inside.add(operation.out)
        yield "    }"
        yield "  }"

    def _slide(self, loop: Loop) -> Iterator[str]:
        (operation,) = loop.operations
        assert isinstance(operation, Convolve | Pool)
        source, kind = self._vector(operation.source), self._sum(operation)
        convolves = isinstance(operation, Convolve)
        yield "  {"
        yield f"    int oc_, oy_, ox_, ky_, kx_{', ic_' if convolves else ''};"
        yield "    i = 0;"
        if isinstance(operation, Convolve):
            yield from convolution(self.program, operation, source, kind)
        else:
            yield from pooling(self.program, operation, source, kind)
        yield from ("      " + line for line in self._stored(operation, "sum_", kind))
        yield "    }"
        yield "  }"

    def _vector(self, name: str) -> str:
        """A value as a whole array."""
        if name == "window" or name in self.program.states:
            return f"s->{name}"
        return "frame" if name == "input" else name

    def _operation(self, operation: Operation, inside: set[str]) -> Iterator[str]:
        """The statements of one unit."""
        if isinstance(operation, Apply):
            out, x = operation.out, self._unit(operation.source, inside)
            yield f"const int32_t {out}_ = {self._table[out]}({x});"
            yield from self._kept(out)
            return
        assert isinstance(operation, Affine | Combine)
        kind = self._sum(operation)
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
        rounded = f"ROUND_SHIFT({kind}, {total}, {shift})" if shift > 0 else _scaled(f"({total})", kind, -shift)
        held = f"CLAMP({kind}, {rounded}, {low}, {high})" if program.can_saturate(operation) else f"({rounded})"
        yield f"const int32_t {out}_ = (int32_t){held};"
        yield from self._kept(out)

    def _kept(self, out: str) -> Iterator[str]:
        """Trace a result, and store it where it is needed later."""
        kind = c_type(self.program.format(out))
        yield f"MODEL_TRACE({self._number[out]}, i, {out}_);"
        if out in self.layout.arrays:
            yield f"{'logits' if out == self.program.logits else out}[i] = ({kind}){out}_;"
        for state in self.layout.in_place:
            if self.program.states[state] == out:
                yield f"s->{state}[i] = ({kind}){out}_;"

    def _affine(self, operation: Affine, kind: str) -> str:
        program, common = self.program, self.program.fraction(operation)
        parts = []
        for number, (matrix, vector) in enumerate(operation.products):
            dot = self._dot(operation, number)
            parts.append(_scaled(dot, kind, common - program.product_fraction(matrix, vector)))
        if operation.bias is not None:
            bias = self._unit(operation.bias, set())
            parts.append(_scaled(bias, kind, common - program.format(operation.bias).fraction))
        return " + ".join(parts)

    def _dot(self, operation: Affine, number: int) -> str:
        """A call of a dot product of row i. Sparse rows follow each other: `from` and `at` run through them."""
        matrix, vector = operation.products[number]
        run = f"{operation.out}{number}"
        key = self._dot_key(operation, matrix, vector)
        columns = self.program.constants[matrix].integers.shape[1]
        x = self._vector(vector)
        if key[0] == "dense":
            row = f"{matrix} + i * {columns}" if key[1] >= 8 else f"{matrix}, (uint32_t)i * {columns}"
            return f"{_dot_name(*key)}({row}, {x}, {columns})"
        if key[0] == "bitmap":
            row = f"{matrix}_bits + i * {-(-columns // 8)}"
            return f"{_dot_name(*key)}({matrix}, &from_{run}, {row}, {x}, {columns})"
        return f"{_dot_name(*key)}({matrix}, &from_{run}, &at_{run}, {matrix}_counts[i], {x})"

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
        at = "[i]" if own >= size else f"[i % {own}]"
        if name in self.program.constants:
            return f"{name}{at}" if own > 1 else f"({int(self.program.constants[name].integers[0])})"
        if name in inside:
            return f"{name}_"
        return f"{self._vector(name)}{at}"


def _power(kind: str, exponent: int) -> str:
    return f"({kind}){1 << exponent}" + ("LL" if exponent > 30 else "")


def _scaled(text: str, kind: str, align: int) -> str:
    return f"{text} * {_power(kind, align)}" if align else text


def _dot_name(encoding: str, bits: int, x: str, kind: str, index: str) -> str:
    where = f"_{index.removesuffix('_t')}" if index else ""
    return f"dot_{encoding}_{bits}_{x.removesuffix('_t')}_{kind.removesuffix('_t')}{where}"


def _dot_function(encoding: str, bits: int, x: str, kind: str, index: str) -> str:
    name = _dot_name(encoding, bits, x, kind, index)
    w = "uint8_t" if bits < 8 else f"int{bits}_t"

    def weight(at: str) -> str:
        return f"w[{at}]" if bits >= 8 else f"unpacked_{bits}(w, {at})"

    if encoding == "dense":
        body = f"  for (k = 0; k < n; k++) sum += ({kind}){weight('k' if bits >= 8 else 'from + k')} * x[k];\n"
        arguments = f"ROM {w} *w, {'' if bits >= 8 else 'uint32_t from, '}const {x} *x, int n"
    elif encoding == "bitmap":
        body = (
            "  for (k = 0; k < n; k++)\n"
            f"    if (bits[k >> 3] >> (k & 7) & 1) sum += ({kind}){weight('(*from)++')} * x[k];\n"
        )
        arguments = f"ROM {w} *w, uint32_t *from, ROM uint8_t *bits, const {x} *x, int n"
    else:
        body = f"  for (k = 0; k < n; k++) sum += ({kind}){weight('(*from)++')} * x[*(*at)++];\n"
        arguments = f"ROM {w} *w, uint32_t *from, ROM {index} **at, int n, const {x} *x"
    return f"static {kind} {name}({arguments}) {{\n  {kind} sum = 0;\n  int k;\n{body}  return sum;\n}}\n"


def _table_function(name: str, table: Table) -> Iterator[str]:
    order = table.coefficients.shape[1] - 1
    yield f"static ROM int16_t {name}_table[] = {{"
    yield from _numbers(table.coefficients)
    yield "};"
    yield f"/* {table.function}, {table.source} to {table.to}: worst error {table.error:.2e} over every input */"
    yield f"static int32_t {name}(int32_t x) {{"
    yield "  const int32_t m = x < 0 ? -x : x;"
    yield f"  int32_t y = {table.last};"
    yield f"  if (m < {table.limit}) {{"
    yield f"    ROM int16_t *c = {name}_table + (m >> {table.segment_bits}) * {order + 1};"
    yield f"    const int32_t d = m & {(1 << table.segment_bits) - 1};"
    yield f"    y = c[{order}];"
    for k, shift in zip(range(order - 1, -1, -1), table.shifts, strict=True):
        if k == 0:
            total = f"y * d + c[0] * {_power('int32_t', shift)}"
            yield f"    y = {f'ROUND_SHIFT(int32_t, {total}, {shift})' if shift else total};"
        else:
            yield f"    y = {f'ROUND_SHIFT(int32_t, y * d, {shift})' if shift else 'y * d'} + c[{k}];"
    yield "  }"
    mirrored = f"{1 << table.to.fraction} - y" if table.function == "sigmoid" else "-y"
    yield f"  if (x < 0) y = {mirrored};"
    yield f"  return CLAMP(int32_t, y, {table.bounds[0]}, {table.bounds[1]});"
    yield "}\n"
