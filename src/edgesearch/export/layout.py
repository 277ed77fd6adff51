"""Which operations share a loop in C, and which values need an array. Values of one loop live in registers."""

from dataclasses import dataclass, field

from edgesearch.numerics.operations import Affine, Convolve, Operation, Pool
from edgesearch.numerics.program import IntegerProgram


@dataclass
class Loop:
    """Operations over the same units, and the states that may be written when it is done."""

    size: int
    operations: list[Operation] = field(default_factory=list)
    finishes: list[str] = field(default_factory=list)

    @property
    def slides(self) -> bool:
        """Whether it is a convolution or a pooling, which has loops of its own."""
        return isinstance(self.operations[0], Convolve | Pool)

    @property
    def gives(self) -> set[str]:
        """Names of the results."""
        return {operation.out for operation in self.operations}


@dataclass(frozen=True)
class Layout:
    """The loops of a step and of the head; which values are arrays; which states are written in place."""

    step: list[Loop]
    head: list[Loop]
    arrays: set[str]
    in_place: set[str]


def layout(program: IntegerProgram) -> Layout:
    """Return the loops of a program.

    An operation joins the loop before it if the sizes agree and no vector that it needs whole is made in that loop. A
    state is written in place if each unit of it is read by its own unit only, in the loop that gives its next value.
    """
    step, head = _loops(program, program.step), _loops(program, program.head)
    in_place = {state for state in program.states if _own_unit_only(program, step, state)}
    arrays = {source for state, source in program.states.items() if state not in in_place}
    for loops in (step, head):
        for loop in loops:
            inside = loop.gives
            for operation in loop.operations:
                whole = _whole(operation)
                arrays |= {
                    name for name in operation.reads if name in program.values and (name not in inside or name in whole)
                }
        arrays |= {loop.operations[0].out for loop in loops if loop.slides}
    arrays -= {"input", *program.states}
    for state in program.states:
        if state not in in_place:
            last = max((k for k, loop in enumerate(step) if any(state in o.reads for o in loop.operations)), default=0)
            made = next(k for k, loop in enumerate(step) if program.states[state] in loop.gives)
            step[max(last, made)].finishes.append(state)
    return Layout(step, head, arrays | {program.logits}, in_place)


def _loops(program: IntegerProgram, operations: tuple[Operation, ...]) -> list[Loop]:
    loops: list[Loop] = []
    for operation in operations:
        size = program.values[operation.out].size
        whole = _whole(operation)
        apart = isinstance(operation, Convolve | Pool)
        if not loops or apart or loops[-1].slides or loops[-1].size != size or whole & loops[-1].gives:
            loops.append(Loop(size))
        loops[-1].operations.append(operation)
    return loops


def _whole(operation: Operation) -> set[str]:
    """The vectors of which an operation reads every unit to give one."""
    if isinstance(operation, Affine):
        return {vector for _, vector in operation.products}
    return {operation.source} if isinstance(operation, Convolve | Pool) else set()


def _own_unit_only(program: IntegerProgram, loops: list[Loop], state: str) -> bool:
    """Whether a state may be written as soon as its next value is there: only its own unit is read, and not later."""
    source = program.states[state]
    order = [operation.out for operation in program.step]
    late = any(state in o.reads for o in program.step[order.index(source) + 1 :])
    readers = [loop for loop in loops if any(state in o.reads for o in loop.operations)]
    whole = any(state in _whole(operation) for operation in (*program.step, *program.head))
    shared = sum(other == source for other in program.states.values()) > 1
    return not (whole or late or shared) and len(readers) == 1 and source in readers[0].gives


@dataclass(frozen=True)
class Shared:
    """Arrays of the head that live in one piece of memory: where each begins, and how long it is, in bytes.

    Both are multiples of `unit`, the bytes of the widest number among them.
    """

    offsets: dict[str, int]
    size: int
    unit: int


def shared(program: IntegerProgram, plan: Layout) -> Shared:
    """Let the arrays of a chain of layers take turns at the two ends of one piece of memory.

    Each loop makes one array, which is read by the loop after it and no later, so that only two are needed at once. A
    head that is no such chain has an array of its own for each value.
    """
    made = [(number, o.out) for number, loop in enumerate(plan.head) for o in loop.operations if o.out in plan.arrays]
    names = [name for _, name in made if name != program.logits]
    if len({number for number, _ in made}) < len(made):
        return Shared({}, 0, 1)
    for number, name in made:
        readers = [k for k, loop in enumerate(plan.head) if any(name in o.reads for o in loop.operations)]
        following = [k for k, other in made if k > number and other != name]
        if name in names and following and max(readers, default=0) > min(following):
            return Shared({}, 0, 1)
    unit = max((container_bits(program.values[name].format.bits) // 8 for name in names), default=1)
    unit = max(unit, 2)
    sizes = [-(-value_bytes_in_ram(program, name) // unit) * unit for name in names]
    size = max(map(sum, zip(sizes, [*sizes[1:], 0], strict=False)), default=0)
    return Shared({name: 0 if k % 2 == 0 else size - sizes[k] for k, name in enumerate(names)}, size, unit)


def ram_bytes(program: IntegerProgram) -> int:
    """Return the bytes that one inference needs: states, one frame, arrays of a step, logits."""
    plan = layout(program)
    together = shared(program, plan)
    names = {"input", *program.states, *plan.arrays} - together.offsets.keys()
    window = program.steps * program.inputs * container_bits(program.values["input"].format.bits) // 8
    alone = sum(value_bytes_in_ram(program, name) for name in names)
    return alone + together.size + (window + 4 if program.reads_window else 0)


def value_bytes_in_ram(program: IntegerProgram, name: str) -> int:
    """Return the bytes of a value as an array in C."""
    value = program.values[name]
    return value.size * container_bits(value.format.bits) // 8


def container_bits(bits: int) -> int:
    """Return the width of the C type that holds `bits`."""
    return 8 if bits <= 8 else 16 if bits <= 16 else 32
