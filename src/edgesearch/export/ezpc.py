"""Integer programs in EzPC's language: model.ezpc, the values that each party gives it, and what it then prints.

The model's constants are inputs of the SERVER, the window is an input of the CLIENT, who gets the logits. All integers
are int64. Multiplications and sums are arithmetic shares (`al`), shifts and comparisons boolean ones (`bl`); EzPC
converts where one is assigned to the other. Its `>>` rounds negative numbers towards zero, so that a sum is made
positive by adding 2^62 (it has at most 62 bits), shifted logically with `>>>`, and what was added is taken away again.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgesearch.export.ezpc_text import FUNCTIONS, Names, readme, table_function
from edgesearch.export.files import CONDITIONS, described, write_folder
from edgesearch.export.rounds import saturates, shift_of
from edgesearch.export.segments import segments
from edgesearch.numerics.format import Ints
from edgesearch.numerics.interpreter import run
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Geometry, Operation, Pool, Sum, Term
from edgesearch.numerics.program import IntegerProgram, set_of

_TOP = 62  # a sum plus 2 ** 62 is positive and fits


def export_ezpc(program: IntegerProgram, folder: Path) -> None:
    """Write model.ezpc, server.txt, client.txt, expected.txt and README.md; the folder is complete or not there.

    Raises:
        ConfigError: there is something else than an earlier export.
        OSError: the folder cannot be written.
    """
    write_folder(folder, ezpc_files(program), frozenset({"model0.cpp", "model0"}))


def ezpc_files(program: IntegerProgram) -> dict[str, str]:
    """Return the files by name. The window of client.txt is random; expected.txt has its logits."""
    given = program.values["input"].format
    x = np.random.default_rng(0).integers(given.low, given.high + 1, (program.steps, 1, program.inputs))
    return {
        "model.ezpc": source(program),
        "server.txt": "".join(map(_numbers, (c.integers for c in program.constants.values()))),
        "client.txt": client(x[:, 0]),
        "expected.txt": _numbers(run(program, x).logits),
        "README.md": readme(program),
    }


def client(window: Ints) -> str:
    """Return what the CLIENT reads for integers (T, D) in the input format."""
    return _numbers(window)


def source(program: IntegerProgram) -> str:
    """Return model.ezpc."""
    printer = _Printer(program)
    parts = [f"(* {described(program)}. Made by edgesearch. {CONDITIONS} *)", FUNCTIONS]
    parts += [table_function(f"table{k}", segments(t), _rounded) for k, t in enumerate(set_of(program.tables))]
    return "\n".join([*parts, "def void main(){", *(f"  {line}" for line in printer.lines()), "}", ""])


def _numbers(values: Ints) -> str:
    return "".join(f"{int(v)}\n" for v in values.reshape(-1))


def _rounded(value: str, shift: int) -> str:
    """A call for value * 2 ** -shift, halves rounded up."""
    if shift <= 0:
        return _times(value, -shift)
    added, back = (1 << _TOP) + (1 << (shift - 1)), 1 << (_TOP - shift)
    return f"rounded({value}, {added}L, {shift}, {back}L)"


def _times(value: str, power: int) -> str:
    return f"({value} * {1 << power}L)" if power else value


class _Printer:
    def __init__(self, program: IntegerProgram) -> None:
        self.program = program
        names = (*program.constants, *program.values, "window")
        self._name = Names(names)
        self._tables = {out: set_of(program.tables).index(table) for out, table in program.tables.items()}

    def lines(self) -> Iterator[str]:
        """The body of main."""
        program = self.program
        for name, constant in program.constants.items():
            shape = "".join(f"[{size}]" for size in constant.integers.shape)
            yield f"input(SERVER, {self._name[name]}, int64_al{shape});"
        yield f"input(CLIENT, {self._name['window']}, int64_al[{program.steps * program.inputs}]);"
        for name in (*program.states, *(o.out for o in (*program.step, *program.head))):
            yield f"int64_al[{program.size(name)}] {self._name[name]};"
        for state in program.states:
            yield f"for i=[0:{program.size(state)}]{{ {self._name[state]}[i] = 0L; }};"
        if program.states:
            yield f"for t=[0:{program.steps}]{{"
            for operation in program.step:
                yield from (f"  {line}" for line in self._operation(operation))
            for state, given in program.states.items():
                to, of = self._name[state], self._name[given]
                yield f"  for i=[0:{program.size(state)}]{{ {to}[i] = {of}[i]; }};"
            yield "};"
        for operation in program.head:
            yield from self._operation(operation)
        yield f"output(CLIENT, {self._name[program.logits]});"

    def _operation(self, operation: Operation) -> Iterator[str]:
        out, size = self._name[operation.out], self.program.size(operation.out)
        if isinstance(operation, Convolve | Pool):
            yield from self._slid(operation)
            return
        yield f"for i=[0:{size}]{{"
        if isinstance(operation, Apply):
            yield f"  {out}[i] = table{self._tables[operation.out]}({self._unit(operation.source, size)});"
        else:
            yield from self._affine(operation) if isinstance(operation, Affine) else self._combine(operation)
            yield f"  {out}[i] = {self._settled(operation)};"
        yield "};"

    def _settled(self, operation: Sum) -> str:
        value = _rounded("total", shift_of(self.program, operation))
        if not saturates(self.program, operation):
            return value
        low, high = self.program.bounds(operation)
        return f"held({value}, {low}L, {high}L)"

    def _unit(self, name: str, size: int) -> str:
        """The operand of unit i of a result."""
        if name == "input":
            return f"{self._name['window']}[t * {self.program.inputs} + i]"
        own = self.program.size(name)
        at = "0" if own == 1 else "i" if own == size else f"i % {own}"
        return f"{self._name[name]}[{at}]"

    def _affine(self, operation: Affine) -> Iterator[str]:
        common = self.program.fraction(operation)
        yield f"  int64_al total = {self._bias(operation.bias, common, 'i')};"
        for k, (matrix, vector) in enumerate(operation.products):
            at = f"{self._name['window']}[t * {self.program.inputs} + j]"
            at = at if vector == "input" else f"{self._name[vector]}[j]"
            yield f"  int64_al part{k} = 0L;"
            product = f"({self._name[matrix]}[i][j] * {at})"
            yield f"  for j=[0:{self.program.size(vector)}]{{ part{k} = part{k} + {product}; }};"
            power = common - self.program.product_fraction(matrix, vector)
            yield f"  total = total + {_times(f'part{k}', power)};"

    def _bias(self, bias: str | None, common: int, at: str) -> str:
        if bias is None:
            return "0L"
        own = at if self.program.size(bias) > 1 else "0"
        return _times(f"{self._name[bias]}[{own}]", common - self.program.format(bias).fraction)

    def _combine(self, operation: Combine) -> Iterator[str]:
        yield "  int64_al total = 0L;"
        for term in operation.terms:
            yield f"  total = total {'-' if term.negative else '+'} {self._term(operation, term)};"

    def _term(self, operation: Combine, term: Term) -> str:
        power = self.program.fraction(operation) - self.program.term_fraction(term)
        if not term.operands:
            return f"{1 << power}L"
        size = self.program.size(operation.out)
        units = [self._unit(name, size) for name in term.operands]
        return _times(units[0] if len(units) == 1 else f"({units[0]} * {units[1]})", power)

    # ---- convolutions and poolings --------------------------------------------------------------------------------

    def _slid(self, operation: Convolve | Pool) -> Iterator[str]:
        program, g = self.program, operation.geometry
        (high, wide), out = g.places, self._name[operation.out]
        channels = program.size(operation.out) // (high * wide)
        yield f"for c=[0:{channels}]{{ for y=[0:{high}]{{ for x=[0:{wide}]{{"
        if isinstance(operation, Convolve):
            yield from (f"  {line}" for line in self._convolve(operation, channels // operation.groups))
        else:
            yield from (f"  {line}" for line in self._pool(operation))
        yield f"  {out}[(c * {high} + y) * {wide} + x] = {self._settled(operation)};"
        yield "}; }; };"

    def _convolve(self, operation: Convolve, outputs: int) -> Iterator[str]:
        program, g = self.program, operation.geometry
        common, per = program.fraction(operation), g.channels // operation.groups
        weights = self._name[operation.weights]
        channel = "k" if operation.groups == 1 else f"(c / {outputs}) * {per} + k"
        source = f"{self._name[operation.source]}[(({channel}) * {g.height} + row) * {g.width} + column]"
        yield "int64_al part = 0L;"
        yield f"for k=[0:{per}]{{"
        yield from _under(g, f"part = part + ({weights}[c][k][v][w] * {source});")
        yield "};"
        power = common - program.product_fraction(operation.weights, operation.source)
        yield f"int64_al total = {_times('part', power)} + {self._bias(operation.bias, common, 'c')};"

    def _pool(self, operation: Pool) -> Iterator[str]:
        g = operation.geometry
        source = f"{self._name[operation.source]}[(c * {g.height} + row) * {g.width} + column]"
        if operation.kind == "sum":
            yield "int64_al total = 0L;"
            yield from _under(g, f"total = total + {source};")
            return
        yield f"int64_bl best = {self.program.format(operation.source).low}L;"
        yield from _under(g, f"int64_bl other = {source}; best = (other > best) ? other : best;")
        yield "int64_al total = best;"


def _under(g: Geometry, body: str) -> Iterator[str]:
    """The loops over a kernel; padding is left out, as it adds nothing."""
    (ph, pw), (sh, sw) = g.padding, g.stride
    inside = []
    inside += ["(row >= 0)", f"(row < {g.height})"] if ph else []
    inside += ["(column >= 0)", f"(column < {g.width})"] if pw else []
    yield f"  for v=[0:{g.kernel[0]}]{{ for w=[0:{g.kernel[1]}]{{"
    yield f"    int32_pl row = y * {sh} + v - {ph};"
    yield f"    int32_pl column = x * {sw} + w - {pw};"
    yield f"    if ({' && '.join(inside)}) {{ {body} }};" if inside else f"    {body}"
    yield "  }; };"
