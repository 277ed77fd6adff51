"""What must hold of an integer program before anything reads it: names, sizes, formats, who gives what, sums that fit.

A program that passes can be run by the interpreter and printed as C that gives the same integers.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgesearch.errors import ModelFileError
from edgesearch.numerics.approximation import Table
from edgesearch.numerics.format import ChannelFormat, Format
from edgesearch.numerics.functions import NAMED
from edgesearch.numerics.names import FRAME, WINDOW, check_name
from edgesearch.numerics.operations import Affine, Apply, Combine, Convolve, Geometry, Operation, Pool

if TYPE_CHECKING:
    from edgesearch.numerics.program import IntegerProgram

SUM_BITS = 62  # of an exact sum
_FRACTION = 256  # magnitude of a fraction, and of a term's power
_OFFSET = 2**53  # magnitude of a channel's offset, in last places
_OPERATIONS = 4096
_VALUES = 2**19  # numbers of a window, and of all vectors together: they lie on the stack of the C
_SIDE = 32_767  # of a map, in places: C counts them in an int of 16 bits
_PATCHES = 2**22  # numbers under the kernel at all places
_WORK = 2**32  # multiply-accumulates and results of one window
_CALL = 2**12  # of these, what an operation costs by itself
_WORDS = 100_000  # characters of one text about a program
_UNSIGNED = 16  # bits of an unsigned value
_COEFFICIENT, _HORNER = 2**15, 2**31  # what a table's coefficients and its sums stay below


def check(program: "IntegerProgram") -> None:
    """Raise `ModelFileError`, one line, naming the first thing that does not hold."""
    _check_size("steps", program.steps, _VALUES)
    _check_names(program)
    _check_vectors(program)
    _check_order(program)
    for operation in (*program.step, *program.head):
        _check_operation(program, operation)
    _check_states(program)
    _check_words(program)
    work = program.steps * _work(program, program.step) + _work(program, program.head)
    if work > _WORK:
        raise _broken(f"a window may take {_WORK} multiply-accumulates and results, got {work}")


def _work(program: "IntegerProgram", operations: tuple[Operation, ...]) -> int:
    """What the interpreter does for operations: zeros are multiplied too, and each operation is a call."""
    return sum(_CALL + _numbers(program, operation) for operation in operations)


def _numbers(program: "IntegerProgram", operation: Operation) -> int:
    size = program.values[operation.out].size
    if isinstance(operation, Affine):
        return size + sum(program.constants[matrix].integers.size for matrix, _ in operation.products)
    if isinstance(operation, Combine):
        return size * (1 + len(operation.terms))
    if isinstance(operation, Apply):
        return size * int(program.tables[operation.out].coefficients.shape[1])
    area = operation.geometry.kernel[0] * operation.geometry.kernel[1]
    return size * area * (operation.geometry.channels if isinstance(operation, Convolve) else 1)


def _broken(rule: str) -> ModelFileError:
    return ModelFileError(f"{rule}; export the model again")


def _check_size(what: str, size: int, most: int) -> None:
    if not 1 <= size <= most:
        raise _broken(f"{what} must be 1 to {most}, got {size}")


# ---- names and vectors ------------------------------------------------------------------------------------------


def _check_names(program: "IntegerProgram") -> None:
    results = [operation.out for operation in (*program.step, *program.head)]
    if len(results) > _OPERATIONS:
        raise _broken(f"a program has at most {_OPERATIONS} operations, got {len(results)}")
    given = [FRAME, *program.states, *results, *program.constants]
    for name in given:
        check_name(name)
    if WINDOW in given:
        raise _broken(f"{WINDOW} names all frames of the input, got another vector of that name")
    if len(set(given)) < len(given):
        twice = next(name for name in given if given.count(name) > 1)
        raise _broken(f"every vector and constant has a name of its own, got {twice} twice")
    known = {FRAME, *program.states, *results}
    if program.logits not in known:
        raise _broken(f"the logits {program.logits[:80]!r} are not computed")
    if program.values.keys() != known:
        raise _broken(f"values must be the input, states and results, got {min(program.values.keys() ^ known)}")
    applied = {o.out for o in (*program.step, *program.head) if isinstance(o, Apply)}
    if program.tables.keys() != applied:
        raise _broken(f"each applied function has a table, and no other, got {min(program.tables.keys() ^ applied)}")


def _check_vectors(program: "IntegerProgram") -> None:
    for name, value in program.values.items():
        _check_size(f"the units of {name}", value.size, _VALUES)
        _check_format(name, value.format)
        if not value.format.signed and value.format.bits > _UNSIGNED:
            raise _broken(f"an unsigned value has at most {_UNSIGNED} bits, got {name} in {value.format}")
        if isinstance(value.format, ChannelFormat) and name != FRAME:
            raise _broken(f"only the input has formats by channel, got {name}")
    _check_channels(program)
    total = sum(value.size for value in program.values.values()) + program.steps * program.inputs
    _check_size("the numbers of a window and of all vectors", total, _VALUES)
    for name, constant in program.constants.items():
        _check_format(name, constant.format)
        if not constant.format.signed or isinstance(constant.format, ChannelFormat):
            raise _broken(f"constants are signed and of one format, got {name} in {constant.format}")
        numbers = constant.integers
        if numbers.ndim not in (1, 2, 4) or not numbers.size:
            raise _broken(f"a constant is a vector, a matrix or filters, got {name} of shape {numbers.shape}")
        if numbers.min() < constant.format.low or numbers.max() > constant.format.high:
            raise _broken(f"{name} must lie inside its format {constant.format}, got {numbers.min()}..{numbers.max()}")


def _check_format(name: str, format: Format) -> None:
    if not 1 <= format.bits <= 32 or abs(format.fraction) > _FRACTION:
        raise _broken(f"a format has 1 to 32 bits and a fraction of at most {_FRACTION}, got {format} for {name}")


def _check_channels(program: "IntegerProgram") -> None:
    given = program.values[FRAME].format
    if not isinstance(given, ChannelFormat):
        return
    if not len(given.fractions) == len(given.offsets) == program.inputs:
        raise _broken(f"the input's format must be of {program.inputs} channels, got {len(given.fractions)}")
    if max(map(abs, given.fractions)) > _FRACTION or max(map(abs, given.offsets)) > _OFFSET:
        raise _broken(f"a channel has a fraction of at most {_FRACTION} and an offset of at most {_OFFSET}, got more")


# ---- what an operation may read ---------------------------------------------------------------------------------


def _check_order(program: "IntegerProgram") -> None:
    """A step reads the frame, states and earlier results; the head states, the window and its own earlier results."""
    _check_reads(program, program.step, {FRAME, *program.states})
    _check_reads(program, program.head, {WINDOW, *program.states})
    if not program.states and not program.reads_window:
        raise _broken("the head must read a state or the window, got neither")
    if program.logits not in {operation.out for operation in program.head}:
        raise _broken(f"the logits are a result of the head, got {program.logits}")
    if any(program.logits in operation.reads for operation in program.head):
        raise _broken(f"the logits {program.logits} are the last result, got an operation that reads them")
    read = {name for operation in (*program.step, *program.head) for name in operation.reads}
    results = {operation.out for operation in (*program.step, *program.head)}
    unread = (program.constants.keys() | results) - read - {*program.states.values(), program.logits}
    if unread:
        raise _broken(f"a program holds only what it reads, got {min(unread)}, which nothing reads")


def _check_reads(program: "IntegerProgram", operations: tuple[Operation, ...], known: set[str]) -> None:
    vectors = set(known)
    for operation in operations:
        for name in operation.reads:
            if name not in vectors and name not in program.constants:
                raise _broken(f"{operation.out} reads {name[:80]!r}, which nothing gives")
        stored, moving = _operands(operation)
        for name in stored:
            if name not in program.constants:
                raise _broken(f"{operation.out} must read {name} as a constant, got a vector")
        for name in moving:
            if name in program.constants:
                raise _broken(f"{operation.out} must read a vector that changes, got the constant {name}")
        vectors.add(operation.out)


def _operands(operation: Operation) -> tuple[list[str], list[str]]:
    """The operands that are constants and those that are not; of a `Combine` each may be either."""
    if isinstance(operation, Affine | Convolve):
        stored = [] if operation.bias is None else [operation.bias]
        if isinstance(operation, Convolve):
            return [*stored, operation.weights], [operation.source]
        return [*stored, *(m for m, _ in operation.products)], [vector for _, vector in operation.products]
    return [], [] if isinstance(operation, Combine) else [operation.source]


# ---- sizes, bounds and sums of an operation ---------------------------------------------------------------------


def _check_operation(program: "IntegerProgram", operation: Operation) -> None:
    size = program.values[operation.out].size
    if isinstance(operation, Affine):
        _check_products(program, operation, size)
    elif isinstance(operation, Combine):
        _check_terms(program, operation, size)
    elif isinstance(operation, Apply):
        _check_table(program, operation)
    else:
        _check_map(program, operation, size)
    if isinstance(operation, Apply):
        return
    _check_bounds(program, operation)
    if max(_shifts(program, operation)) > SUM_BITS:
        raise _broken(f"the fractions that {operation.out} adds must lie within {SUM_BITS} bits, got more")
    bits = program.sum_bits(operation)
    if bits > SUM_BITS:
        raise ModelFileError(
            f"a sum must fit into {SUM_BITS} bits, got {bits} for {operation.out} of {', '.join(operation.reads)}; "
            "set quant.weight_bits=8, or +quant.named.NAME=8 for one of them"
        )


def _check_products(program: "IntegerProgram", operation: Affine, size: int) -> None:
    _check_size(f"the products of {operation.out}", len(operation.products), _OPERATIONS)
    for matrix, vector in operation.products:
        shape = program.constants[matrix].integers.shape
        if shape != (size, program.size(vector)):
            raise _broken(f"{matrix} must be ({size}, {program.size(vector)}), got {shape}")
    _check_bias(program, operation.bias, operation.out, size)


def _check_bias(program: "IntegerProgram", bias: str | None, out: str, size: int) -> None:
    if bias is None:
        return
    shape = program.constants[bias].integers.shape
    if shape not in ((1,), (size,)):
        raise _broken(f"the bias {bias} of {out} must have {size} numbers or one, got shape {shape}")


def _check_terms(program: "IntegerProgram", operation: Combine, size: int) -> None:
    _check_size(f"the terms of {operation.out}", len(operation.terms), _OPERATIONS)
    for term in operation.terms:
        if len(term.operands) > 2 or abs(term.power) > _FRACTION:
            raise _broken(
                f"a term has at most two operands and a power of at most {_FRACTION}, got {len(term.operands)} and "
                f"{term.power} in {operation.out}"
            )
        for name in term.operands:
            if name in program.constants and program.constants[name].integers.ndim != 1:
                raise _broken(f"{operation.out} takes vectors, got the matrix {name}")
            if size % program.size(name):
                raise _broken(
                    f"the operands of {operation.out} must have {size} units, got {program.size(name)} of {name}"
                )


def _shifts(program: "IntegerProgram", operation: Affine | Combine | Convolve | Pool) -> Iterator[int]:
    """By how many bits the parts of a sum are shifted to be added, and the sum to be stored."""
    common = program.fraction(operation)
    yield abs(common - program.format(operation.out).fraction)
    if isinstance(operation, Combine):
        yield from (common - program.term_fraction(term) for term in operation.terms)
    elif isinstance(operation, Affine):
        yield from (common - program.product_fraction(*pair) for pair in operation.products)
    elif isinstance(operation, Convolve):
        yield common - program.product_fraction(operation.weights, operation.source)
    bias = getattr(operation, "bias", None)
    if bias is not None:
        yield common - program.format(bias).fraction


def _check_bounds(program: "IntegerProgram", operation: Affine | Combine | Convolve | Pool) -> None:
    for bound in (getattr(operation, "low", None), getattr(operation, "high", None)):
        if bound is not None and not np.isfinite(bound):
            raise _broken(f"the bounds of {operation.out} must be finite, got {bound}")
    low, high = program.bounds(operation)
    if low > high:
        raise _broken(f"the bounds of {operation.out} must be in order, got {low}..{high}")


def _check_map(program: "IntegerProgram", operation: Convolve | Pool, size: int) -> None:
    geometry = operation.geometry
    _check_geometry(operation.out, geometry)
    channels = geometry.channels
    if isinstance(operation, Convolve):
        weights = program.constants[operation.weights].integers
        channels, groups = len(weights), operation.groups
        if groups < 1 or geometry.channels % groups or channels % groups:
            raise _broken(f"the groups of {operation.out} must divide its channels, got {groups}")
        if weights.shape[1:] != (geometry.channels // groups, *geometry.kernel):
            raise _broken(f"{operation.weights} does not fit {operation.out}, got shape {weights.shape}")
        _check_bias(program, operation.bias, operation.out, channels)
    elif operation.kind not in ("max", "sum") or geometry.padding != (0, 0):
        raise _broken(f"{operation.out} pools by max or sum without padding, got {operation.kind[:20]!r}")
    if channels * math.prod(geometry.places) != size or program.size(operation.source) != geometry.size:
        raise _broken(f"{operation.source} does not fit {operation.out}, got {geometry.size} numbers in its map")


def _check_geometry(out: str, geometry: Geometry) -> None:
    _check_size(f"the channels of {out}", geometry.channels, _SIDE)
    for extent, kernel, stride, padding in _extents(geometry):
        if padding < 0:
            raise _broken(f"the padding of {out} must be at least 0, got {padding}")
        _check_size(f"a side of {out}'s map", extent, _SIDE - 2 * padding)
        _check_size(f"a side of {out}'s kernel", kernel, extent + 2 * padding)
        _check_size(f"the stride of {out}", stride, _SIDE)
    patches = geometry.channels * math.prod(geometry.places) * math.prod(geometry.kernel)
    _check_size(f"the numbers under the kernel of {out}", patches, _PATCHES)
    padded = geometry.channels * math.prod(extent + 2 * padding for extent, _, _, padding in _extents(geometry))
    _check_size(f"the numbers of {out}'s map with its padding", padded, _PATCHES)


def _extents(geometry: Geometry) -> Iterator[tuple[int, int, int, int]]:
    sides = (geometry.height, geometry.width)
    return zip(sides, geometry.kernel, geometry.stride, geometry.padding, strict=True)


def _check_states(program: "IntegerProgram") -> None:
    results = {operation.out for operation in program.step}
    for state, source in program.states.items():
        if source not in results or program.values[state] != program.values[source]:
            raise _broken(f"state {state} must take what a step gives, in its own size and format, got {source[:80]!r}")


def _check_words(program: "IntegerProgram") -> None:
    if len(program.class_names) not in (0, program.classes):
        raise _broken(f"each of {program.classes} logits has a class name, got {len(program.class_names)} names")
    longest = max(map(len, (*program.class_names, *program.about, *program.about.values())), default=0)
    _check_size("the characters of what is said about a program", max(longest, 1), _WORDS)


# ---- tables -----------------------------------------------------------------------------------------------------


def _check_table(program: "IntegerProgram", operation: Apply) -> None:
    table, out = program.tables[operation.out], operation.out
    if operation.function != table.function:
        raise _broken(f"{out} applies {operation.function[:20]!r}, got the table of {table.function[:20]!r}")
    formats = program.format(operation.source), program.format(out)
    if formats != (table.source, table.to) or program.size(operation.source) != program.size(out):
        raise _broken(f"{out} and {operation.source} must have the formats of its table and one size, got others")
    check_table(table)


def check_table(table: Table) -> None:
    """Raise `ModelFileError` unless the table gives a value for every x in integers of 32 bits; checked once."""
    if not table.is_sound:
        raise _broken(
            f"a table is of {' or '.join(NAMED)} from at most 16 bits, with 16-bit coefficients and sums that fit into "
            f"32 bits, got another one of {table.function[:20]!r}"
        )
