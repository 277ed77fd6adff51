"""Integer programs over secret integers: program.py for everyone, model.npz for the owner of the model alone.

program.py has the structure: sizes, formats, steps, the tables of sigmoid and tanh. Matrices are dense in model.npz, so
that not even the pattern of their zeros is told. Operations are grouped as `rounds` says.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgesearch.export import oblivious
from edgesearch.export.files import CONDITIONS, described, write_folder
from edgesearch.export.rounds import Group, apart, grouped, saturates, shift_of
from edgesearch.export.secure_text import PROGRAM, readme
from edgesearch.export.segments import segments
from edgesearch.numerics.format import Ints
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Operation, Pool, Sum, Term
from edgesearch.numerics.program import IntegerProgram, set_of

LEFT_BEHIND = frozenset({"data.npz", "secure.json", "__pycache__"})


def export_secure(program: IntegerProgram, folder: Path) -> None:
    """Write program.py, model.npz and README.md; the folder is complete or not there.

    Raises:
        ConfigError: there is something else than an earlier export.
        OSError: the folder cannot be written.
    """
    write_folder(folder, secure_files(program), LEFT_BEHIND)


def secure_files(program: IntegerProgram) -> dict[str, str | bytes]:
    """Return the files by name."""
    return {"program.py": source(program), "model.npz": model(program), "README.md": readme(program)}


def model(program: IntegerProgram) -> bytes:
    """Return model.npz: the constants as int64, by name, nothing of them packed or left out."""
    buffer = io.BytesIO()
    arrays = {name: constant.integers.astype(np.int64) for name, constant in program.constants.items()}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def data(program: IntegerProgram, x: Ints) -> bytes:
    """Return data.npz: integers x (T, N, D) in the input format as `windows` (N, T, D)."""
    buffer = io.BytesIO()
    np.savez(buffer, windows=np.ascontiguousarray(x.transpose(1, 0, 2), np.int64))
    return buffer.getvalue()


def source(program: IntegerProgram) -> str:
    """Return program.py."""
    printer = _Printer(program)
    given = program.values["input"].format
    shapes = "".join(f'    "{name}": {c.integers.shape},\n' for name, c in program.constants.items())
    tables = "".join(f"TABLE_{k} = {vars(segments(t))}\n" for k, t in enumerate(set_of(program.tables)))
    return PROGRAM.format(
        arithmetic=Path(oblivious.__file__).read_text(encoding="utf-8").partition("from typing import Any\n")[2],
        about=described(program), conditions=CONDITIONS,
        steps=program.steps, inputs=program.inputs, classes=program.classes, format=given, low=given.low,
        high=given.high, shapes=shapes, tables=tables, body="\n".join(f"    {line}" for line in printer.lines()),
        logits=_own(program.logits),
    )  # fmt: skip


def _own(name: str) -> str:
    """A local variable; no keyword and no name of the arithmetic ends like this."""
    return f"{name}_"


def _lifted(value: str, power: int) -> str:
    return f"({value} << {power})" if power else value


class _Printer:
    def __init__(self, program: IntegerProgram) -> None:
        self.program = program
        self._tables = {out: set_of(program.tables).index(table) for out, table in program.tables.items()}

    def lines(self) -> Iterator[str]:
        """The body of `run`."""
        program = self.program
        free, bound = apart(program)
        if free:
            yield "input_ = xp.reshape(x, (rows * STEPS, INPUTS))  # what needs no state, for all frames at once"
            for group in grouped(program, free):
                yield from self._group(group, "rows * STEPS")
            needed = self._read_in(bound)
            for name in (o.out for o in free if o.out in needed):
                yield f"all_{name} = xp.reshape({_own(name)}, (rows, STEPS, {program.size(name)}))"
        for state in program.states:
            yield f"{_own(state)} = xp.zeros((rows, {program.size(state)}), xp.int64)"
        if program.states:
            states = "".join(f"{_own(state)}, " for state in program.states)
            yield "def frame(t: Any, states: Any) -> Any:"
            yield f"    {states}= states"
            yield from (f"    {line}" for line in self._frame(free, bound))
            yield f"{states}= loop(0, STEPS, frame, ({states}))"
        if program.reads_window:
            yield "window_ = xp.reshape(x, (rows, STEPS * INPUTS))"
        for group in grouped(program, program.head):
            yield from self._group(group, "rows")

    def _frame(self, free: list[Operation], bound: list[Operation]) -> Iterator[str]:
        needed = self._read_in(bound)
        if "input" in needed:
            yield "input_ = x[:, t]"
        yield from (f"{_own(o.out)} = all_{o.out}[:, t]" for o in free if o.out in needed)
        for group in grouped(self.program, bound):
            yield from self._group(group, "rows")
        yield f"return ({''.join(f'{_own(source)}, ' for source in self.program.states.values())})"

    def _read_in(self, bound: list[Operation]) -> set[str]:
        return {name for operation in bound for name in operation.reads} | set(self.program.states.values())

    def _group(self, group: Group, rows: str) -> Iterator[str]:
        first, names = group.operations[0], [o.out for o in group.operations]
        if isinstance(first, Apply):
            sources = self._beside([_own(o.source) for o in group.operations if isinstance(o, Apply)])
            result = f"applied(xp, {sources}, TABLE_{self._tables[first.out]})"
        else:
            sums = [o for o in group.operations if not isinstance(o, Apply)]
            yield from self._totals(sums, rows, group.shift)
            result = f"rounded(total, {group.shift})"
            if saturates(self.program, first):
                result = f"held(xp, {result}, {self._bounds(sums)})"
        if len(names) == 1:
            yield f"{_own(names[0])} = {result}"
        else:
            sizes = [self.program.size(name) for name in names]
            yield f"{', '.join(map(_own, names))} = split({result}, {sizes})"

    def _bounds(self, sums: list[Sum]) -> str:
        bounds = [self.program.bounds(operation) for operation in sums]
        if len(set(bounds)) == 1:
            return f"{bounds[0][0]}, {bounds[0][1]}"
        sizes = [self.program.size(operation.out) for operation in sums]
        sides = (" + ".join(f"[{b[k]}] * {size}" for b, size in zip(bounds, sizes, strict=True)) for k in (0, 1))
        return ", ".join(f"xp.asarray({side})" for side in sides)

    @staticmethod
    def _beside(parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else f"xp.concatenate([{', '.join(parts)}], axis=-1)"

    # ---- exact sums, aligned for one shift ------------------------------------------------------------------------

    def _totals(self, sums: list[Sum], rows: str, shift: int) -> Iterator[str]:
        lifts = [shift - shift_of(self.program, operation) for operation in sums]
        (first, *_) = sums
        if isinstance(first, Combine):
            yield from self._combined([o for o in sums if isinstance(o, Combine)], rows, lifts)
        elif isinstance(first, Affine):
            yield f"total = {self._affine([o for o in sums if isinstance(o, Affine)], lifts)}"
        else:
            yield from self._slid(first, lifts[0])

    def _affine(self, sums: list[Affine], lifts: list[int]) -> str:
        """Outputs that read the same vectors are rows of one matrix."""
        parts: list[tuple[list[str], list[str]]] = []
        for operation, lift in zip(sums, lifts, strict=True):
            common = self.program.fraction(operation)
            vectors = [self._operand(vector) for _, vector in operation.products]
            powers = [common - self.program.product_fraction(*pair) + lift for pair in operation.products]
            own = ", ".join(f'(m["{m}"], {p})' for (m, _), p in zip(operation.products, powers, strict=True))
            output = f"([{own}], {self._bias(operation.bias, common, lift)})"
            if parts and parts[-1][0] == vectors:
                parts[-1][1].append(output)
            else:
                parts.append((vectors, [output]))
        return self._beside([f"affine(xp, [{', '.join(o)}], [{', '.join(v)}])" for v, o in parts])

    def _bias(self, bias: str | None, common: int, lift: int) -> str:
        return "None" if bias is None else f'm["{bias}"] << {common - self.program.format(bias).fraction + lift}'

    def _combined(self, sums: list[Combine], rows: str, lifts: list[int]) -> Iterator[str]:
        pairs: list[str] = []
        names: list[str] = []
        totals: list[str] = []
        for operation, lift in zip(sums, lifts, strict=True):
            size, parts = self.program.size(operation.out), []
            for term in operation.terms:
                power = self.program.fraction(operation) - self.program.term_fraction(term) + lift
                if len(term.operands) == 2:
                    names.append(f"p{len(names)}")
                    pairs.append(f"({', '.join(map(self._operand, term.operands))}, {size})")
                    value = names[-1]
                else:
                    value = self._single(term, rows, size)
                parts.append(f"{'-' if term.negative else '+'} {_lifted(value, power)}")
            totals.append(" ".join(parts).removeprefix("+ "))
        if pairs:
            yield f"{', '.join(names)}{',' if len(names) == 1 else ''} = products(xp, {rows}, [{', '.join(pairs)}])"
        yield f"total = {self._beside(totals)}"

    def _single(self, term: Term, rows: str, size: int) -> str:
        if not term.operands:
            return f"xp.ones(({rows}, {size}), xp.int64)"
        return f"units(xp, {self._operand(term.operands[0])}, {rows}, {size})"

    def _operand(self, name: str) -> str:
        return f'm["{name}"]' if name in self.program.constants else _own(name)

    def _slid(self, operation: Sum, lift: int) -> Iterator[str]:
        assert isinstance(operation, Convolve | Pool)
        g, size = operation.geometry, self.program.size(operation.out)
        shape = (g.channels, g.height, g.width)
        yield f"patches = under(xp, {_own(operation.source)}, {shape}, {g.kernel}, {g.stride}, {g.padding})"
        if isinstance(operation, Pool):
            yield f"total = {_lifted(f'xp.reshape(xp.{operation.kind}(patches, axis=0), (-1, {size}))', lift)}"
            return
        common = self.program.fraction(operation)
        align = common - self.program.product_fraction(operation.weights, operation.source) + lift
        sums = f'convolved(xp, patches, m["{operation.weights}"], {operation.groups})'
        yield f"total = {_lifted(sums, align)}"
        if operation.bias is not None:
            yield f"total = total + ({self._bias(operation.bias, common, lift)})[:, None]"
        yield f"total = xp.reshape(total, (-1, {size}))"
