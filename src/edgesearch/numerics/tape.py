"""Integer training, one batch: a program's forward pass that keeps every value, and the gradients back through it.

The forward pass is the program's own, rounded by the rule. Gradients have one format; each is the exact sum of all that
reaches a value, rounded once. A result that was saturated or held between bounds passes no gradient.
"""

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from edgesearch.errors import ConfigError
from edgesearch.numerics.fixed import Arithmetic, Fixed
from edgesearch.numerics.format import Format, Ints, round_shift
from edgesearch.numerics.program import IntegerProgram
from edgesearch.numerics.rules import (
    AffineBlock,
    AnyBlock,
    ApplyBlock,
    CombineBlock,
    Exact,
    Read,
    Wide,
    add,
    aligned,
    blocks,
)

_ALL = -1  # where a block runs on all steps, or after the last one
Pending = dict[str, Exact]


class Tape:
    """Runs batches of a recurrent program and differentiates them.

    Args:
        program: its operations, formats and tables; constants that are not `trained` stay as they are.
        trained: the constants whose gradients are wanted.
        arithmetic: rounds gradients and counts, for the forward pass too, what overflows.
        gradient: format of every value's gradient.

    Raises:
        ConfigError: a program without states, or an operation that has no gradient here.
    """

    def __init__(
        self, program: IntegerProgram, trained: Collection[str], arithmetic: Arithmetic, gradient: Format
    ) -> None:
        if program.reads_window or not program.states:
            raise ConfigError("training in fixed point is for recurrent cells, got one without states; set cell=lstm")
        self.program, self.arithmetic, self.gradient = program, arithmetic, gradient
        self._trained = frozenset(trained)
        self._constants = {name: c.integers for name, c in program.constants.items()}
        self._late = _reached(program, frozenset(program.states))
        self._wanted = self._late | _reached(program, self._trained)
        self._early = blocks(program, [o for o in program.step if o.out not in self._late])
        self._loop = blocks(program, [o for o in program.step if o.out in self._late])
        self._head = blocks(program, program.head)
        self._values: dict[str, Ints] = {}  # (T, rows, units)
        self._final: dict[str, Ints] = {}  # (rows, units)
        self._held: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}

    def forward(self, x: Ints, constants: Mapping[str, Ints]) -> Fixed:
        """Return the logits (B, C) of integers x (T, B, D), with these integers for the trained constants."""
        steps, rows = x.shape[:2]
        self._constants |= constants
        self._values, self._held = {"input": x}, {}
        for block in (*self._early, *self._loop, *self._head):
            if isinstance(block, AffineBlock):
                block.prepare(self._constants)
        for block in self._early:
            self._values |= _named(block, self._run(block, self._everywhere(), _ALL))
        self._make_room(steps, rows)
        everywhere = self._everywhere()
        starts = {b.name: b.hoisted(everywhere, b.reads - self._late) for b in self._loop if isinstance(b, AffineBlock)}
        for t in range(steps):
            read = self._at(t)
            for block in self._loop:
                start = starts.get(block.name)
                begun = start[t] if start is not None and start.ndim == 3 else start
                self._values[block.name][t] = self._run(block, read, t, begun)
        self._final = {state: self._values[source][-1] for state, source in self.program.states.items()}
        for block in self._head:
            self._final |= _named(block, self._run(block, self._last(), _ALL))
        return Fixed(self._final[self.program.logits], self.program.format(self.program.logits))

    def backward(self, gradient: Fixed) -> dict[str, Exact]:
        """Return the exact gradients of the trained constants, given that of the logits (B, C)."""
        found: Pending = {}
        pending: Pending = {self.program.logits: Exact(gradient.integers, gradient.format.fraction, gradient.room)}
        for block in reversed(self._head):
            self._pass_on(block, self._last(), pending, found)
        pending = {source: pending.pop(state) for state, source in self.program.states.items() if state in pending}
        stacks = self._through_time(pending)
        everywhere, pending = self._everywhere(), {}
        for block in reversed(self._loop):
            if not isinstance(block, ApplyBlock):
                for name, exact in block.constants(stacks[block.name], everywhere, self._trained):
                    add(found, name, exact)
                for name, exact in block.backward(stacks[block.name], everywhere, self._wanted - self._late):
                    add(pending, name, exact)
        for block in reversed(self._early):
            self._pass_on(block, everywhere, pending, found)
        return found

    def _through_time(self, pending: Pending) -> dict[str, Fixed]:
        """Go back through the loop; return the gradients (T, B, units) of every block's results."""
        stacks = {b.name: np.zeros_like(self._values[b.name]) for b in self._loop}
        slopes = {b.name: b.slope(self._values[b.name]) for b in self._loop if isinstance(b, ApplyBlock)}
        backwards = self._loop[::-1]
        for t in reversed(range(len(self._values["input"]))):
            read = self._at(t)
            for block in backwards:
                g = self._taken(block, pending, t)
                if g is None:
                    continue
                stacks[block.name][t] = g.integers
                if isinstance(block, ApplyBlock):
                    add(pending, block.source, block.backward(g, slopes[block.name][t]))
                    continue
                for name, exact in block.backward(g, read, self._late):
                    add(pending, name, exact)
            pending = {s: pending.pop(state) for state, s in self.program.states.items() if state in pending}
        return {name: Fixed(stack, self.gradient) for name, stack in stacks.items()}

    def _taken(self, block: AnyBlock, pending: Pending, where: int) -> Fixed | None:
        """Round what has reached the results of a block; nothing passes where they were held."""
        parts = [(i, pending.pop(out)) for i, out in enumerate(block.outs) if out in pending]
        if len(block.outs) == 1:
            if not parts:
                return None
            total, fraction, _ = parts[0][1]
        else:
            if parts:
                add(pending, block.name, _side_by_side(block, parts))
            if block.name not in pending:
                return None
            total, fraction, _ = pending.pop(block.name)
        held = self._held.get((block.name, where))
        if held is not None:
            total = np.where(held, 0, total)
        return self.arithmetic.store(total, fraction, self.gradient, "gradients")

    def _pass_on(self, block: AnyBlock, read: Read, pending: Pending, found: Pending) -> None:
        g = self._taken(block, pending, _ALL)
        if g is None:
            return
        if isinstance(block, ApplyBlock):
            add(pending, block.source, block.backward(g, block.slope(read(block.name))))
            return
        for name, exact in block.backward(g, read, self._wanted):
            add(pending, name, exact)
        for name, exact in block.constants(g, read, self._trained):
            add(found, name, exact)

    def _run(self, block: AnyBlock, read: Read, where: int, begun: Wide | None = None) -> Ints:
        if isinstance(block, ApplyBlock):
            return block.value(read(block.source))
        if isinstance(block, CombineBlock):
            total = block.total(read)
        elif begun is None:
            total = block.total(read, block.reads, block.hoisted(read, frozenset()))
        else:
            total = block.total(read, self._late, begun)
        # the half is in the sum already
        if block.shift >= 0:
            total >>= block.shift
        else:
            total = round_shift(total, block.shift)
        if not block.can_saturate:
            return total
        low, high = block.bounds
        if np.minimum.reduce(total, axis=None) < low or np.maximum.reduce(total, axis=None) > high:
            self._held[block.name, where] = (total < low) | (total > high)
            beyond = int(((total < block.to.low) | (total > block.to.high)).sum())
            if beyond:
                self.arithmetic.overflows[block.name] += beyond
            total = np.clip(total, low, high)
        return total

    def _make_room(self, steps: int, rows: int) -> None:
        """Make the arrays of the loop's results; a state is what its source was a step before."""
        sources: dict[str, list[str]] = {}
        for state, source in self.program.states.items():
            sources.setdefault(source, []).append(state)
        for block in self._loop:
            every = np.zeros((steps + 1, rows, block.units), np.int64)
            self._values |= _named(block, every[1:])
            for index, out in enumerate(block.outs):
                self._values |= {state: every[:-1, :, block.part(index)] for state in sources.get(out, ())}

    def _everywhere(self) -> Read:
        """Read values of all steps, and constants."""
        return (self._constants | self._values).__getitem__

    def _at(self, t: int) -> Read:
        """Read values of a step, and constants."""
        return (self._constants | {name: values[t] for name, values in self._values.items()}).__getitem__

    def _last(self) -> Read:
        """Read the last states, what the head makes of them, and constants."""
        return (self._constants | self._final).__getitem__


def _named(block: AnyBlock, values: Ints) -> dict[str, Ints]:
    """Return the results of a block under its name, and each under its own."""
    return {block.name: values} | {out: values[..., block.part(index)] for index, out in enumerate(block.outs)}


def _side_by_side(block: AnyBlock, parts: list[tuple[int, Exact]]) -> Exact:
    """Return what has reached single results as what has reached all of them."""
    finest = max(exact.fraction for _, exact in parts)
    fine = [(index, aligned(exact, finest)) for index, exact in parts]
    first = fine[0][1].values
    whole = np.zeros((*first.shape[:-1], block.units), np.result_type(*(exact.values for _, exact in fine)))
    for index, exact in fine:
        whole[..., block.part(index)] = exact.values
    return Exact(whole, finest, max(exact.bits for _, exact in fine))


def _reached(program: IntegerProgram, names: frozenset[str]) -> frozenset[str]:
    """Return `names`, and the results that depend on one of them."""
    found = set(names)
    for operation in (*program.step, *program.head):
        if found & set(operation.reads):
            found.add(operation.out)
    return frozenset(found)
