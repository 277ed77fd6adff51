"""Which operations of a program are computed together: those that wait for nothing but earlier groups.

A message between parties costs as much for one number as for a thousand, so operations of one kind share their
messages, and what depends on the input alone is computed for all frames at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgesearch.numerics.operations import Affine, Apply, Combine, Operation, Pool, Sum
from edgesearch.numerics.program import IntegerProgram
from edgesearch.numerics.validity import SUM_BITS


@dataclass(frozen=True)
class Group:
    """Operations of one kind that do not read each other; sums are all shifted right by `shift` to be rounded."""

    operations: tuple[Operation, ...]
    shift: int = 0


def apart(program: IntegerProgram) -> tuple[list[Operation], list[Operation]]:
    """Return the operations of a step that read no state, and the others."""
    free: list[Operation] = []
    for operation in program.step:
        if {"input", *program.constants, *(o.out for o in free)}.issuperset(operation.reads):
            free.append(operation)
    return free, [operation for operation in program.step if operation not in free]


def grouped(program: IntegerProgram, operations: Iterable[Operation]) -> list[Group]:
    """Return the operations in groups, each after those that it reads."""
    waiting, groups = list(operations), []
    while waiting:
        made = {operation.out for operation in waiting}
        ready = [operation for operation in waiting if not made.intersection(operation.reads)]
        same = [operation for operation in ready if _kind(program, operation) == _kind(program, ready[0])]
        groups.append(_group(program, same))
        waiting = [operation for operation in waiting if operation not in groups[-1].operations]
    return groups


def shift_of(program: IntegerProgram, operation: Sum) -> int:
    """Return by how many bits a sum is shifted right to be rounded; negative: to the left."""
    return program.fraction(operation) - program.format(operation.out).fraction


def saturates(program: IntegerProgram, operation: Sum) -> bool:
    """Tell whether a rounded sum has to be held to its bounds."""
    if isinstance(operation, Pool) and operation.kind == "max" and shift_of(program, operation) == 0:
        (low, high), (least, most) = program.interval(operation.source), program.bounds(operation)
        return low < least or high > most
    return program.can_saturate(operation)


def _kind(program: IntegerProgram, operation: Operation) -> tuple[Any, ...]:
    if isinstance(operation, Apply):
        return Apply, id(program.tables[operation.out])
    if isinstance(operation, Affine | Combine):
        return type(operation), saturates(program, operation)
    return (operation.out,)


def _group(program: IntegerProgram, operations: list[Operation]) -> Group:
    """Take as many of the operations as have room for the largest shift in their sums."""
    taken: list[Operation] = []
    shift = 0
    for operation in operations:
        if isinstance(operation, Apply):
            taken.append(operation)
            continue
        larger = max(shift, shift_of(program, operation))
        if not taken or all(_fits(program, other, larger) for other in (*taken, operation)):
            taken.append(operation)
            shift = larger
    return Group(tuple(taken), shift)


def _fits(program: IntegerProgram, operation: Operation, shift: int) -> bool:
    assert not isinstance(operation, Apply)
    return program.sum_bits(operation) + shift - max(0, shift_of(program, operation)) <= SUM_BITS
