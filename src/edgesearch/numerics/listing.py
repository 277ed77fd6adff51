"""A program as text, for people."""

from collections.abc import Iterator

from edgesearch.numerics.operations import Affine, Apply, Convolve, Operation, Pool, Term
from edgesearch.numerics.program import IntegerProgram, set_of


def listing(program: IntegerProgram) -> str:
    """Return the states, operations and constants with their sizes and formats, a line each."""
    return "\n".join(_lines(program))


def _lines(program: IntegerProgram) -> Iterator[str]:
    about = ", ".join(f"{key} {value}" for key, value in program.about.items())
    yield f"{about or 'a program'}: {program.steps} frames, {program.classes} classes"
    yield f"flash {program.flash_bytes:,} bytes (constants), {program.macs:,} multiply-accumulates a window"
    yield f"\ninput[{program.inputs}] {program.values['input'].format}"
    for state, source in program.states.items():
        yield f"{state}[{program.values[state].size}] {program.values[state].format} starts at 0, then takes {source}"
    for title, operations in (("each frame", program.step), ("after the last frame", program.head)):
        yield f"\n{title}"
        for operation in operations:
            value = program.values[operation.out]
            yield f"  {operation.out}[{value.size}] {value.format} = {_right(program, operation)}"
    yield f"\nthe answer is the first largest of {program.logits}\n\nconstants"
    for name, constant in program.constants.items():
        shape = " x ".join(map(str, constant.integers.shape))
        yield f"  {name}[{shape}] {constant.format} {constant.encoding}, {constant.flash_bytes:,} bytes"
    for table in set_of(program.tables):
        segments, terms = table.coefficients.shape
        yield (
            f"  {table.function} {table.source} to {table.to}: {segments} segments of degree {terms - 1}, "
            f"{table.flash_bytes} bytes, worst error {table.error:.1e}"
        )


def _right(program: IntegerProgram, operation: Operation) -> str:
    if isinstance(operation, Apply):
        return f"{operation.function}({operation.source})"
    if isinstance(operation, Convolve | Pool):
        return _slid(operation)
    if isinstance(operation, Affine):
        parts = [f"{matrix} @ {vector}" for matrix, vector in operation.products]
        return " + ".join(parts if operation.bias is None else [*parts, operation.bias])
    text = "".join((" - " if t.negative else " + ") + _term(t) for t in operation.terms).removeprefix(" + ").lstrip()
    if operation.low is None and operation.high is None:
        return text
    low = "" if operation.low is None else f"{operation.low:g}"
    high = "" if operation.high is None else f"{operation.high:g}"
    return f"clamp({text}, {low}..{high})"


def _slid(operation: Convolve | Pool) -> str:
    g = operation.geometry
    over = f"{operation.source}({g.channels} x {g.height} x {g.width})"
    how = f"kernel {g.kernel[0]} x {g.kernel[1]}, stride {g.stride[0]} x {g.stride[1]}"
    if isinstance(operation, Pool):
        return f"{operation.kind} of {over}, {how}"
    bias = "" if operation.bias is None else f" + {operation.bias}"
    groups = "" if operation.groups == 1 else f", {operation.groups} groups"
    low = "" if operation.low is None else f", at least {operation.low:g}"
    return f"{operation.weights} * {over}{bias}, {how}, padding {g.padding[0]} x {g.padding[1]}{groups}{low}"


def _term(term: Term) -> str:
    factors = list(term.operands)
    if term.power or not factors:
        factors.insert(0, f"{2.0**term.power:g}")
    return " * ".join(factors)
