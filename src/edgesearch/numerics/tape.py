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
from edgesearch.numerics.operations import Operation
from edgesearch.numerics.program import IntegerProgram
from edgesearch.numerics.rules import AffineRule, ApplyRule, Exact, Read, Wide, add, rule_of

_ALL = -1  # where an operation runs on all steps, or after the last one


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
        states = frozenset(program.states)
        late = _reached(program, states)
        self._wanted = late | _reached(program, self._trained) | self._trained
        self._early = [o for o in program.step if o.out not in late]
        self._loop = [o for o in program.step if o.out in late]
        self._rules = {o.out: rule_of(program, o) for o in (*program.step, *program.head)}
        self._hoisted = {
            o.out: frozenset(name for name in o.reads if name not in late and name not in program.constants)
            for o in self._loop
        }
        self._read_late = {o.out: late & frozenset(o.reads) for o in self._loop}
        self._values: dict[str, Ints] = {}
        self._held: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}

    def forward(self, x: Ints, constants: Mapping[str, Ints]) -> Fixed:
        """Return the logits (B, C) of integers x (T, B, D), with these integers for the trained constants."""
        steps, rows = x.shape[:2]
        self._constants |= constants
        self._values, self._held = {"input": x}, {}
        for rule in self._rules.values():
            if not isinstance(rule, ApplyRule):
                rule.prepare(self._constants)
        every = {
            source: np.zeros((steps + 1, rows, self.program.size(source)), np.int64)
            for source in set(self.program.states.values())
        }
        self._values |= {source: values[1:] for source, values in every.items()}
        self._values |= {state: every[source][:-1] for state, source in self.program.states.items()}
        for operation in self._early:
            self._values[operation.out] = self._result(operation, self._reader(None), _ALL)
        begun = {o.out: self._begun(o) for o in self._loop}
        for operation in self._loop:
            if operation.out not in self._values:
                shape = (steps, rows, self.program.size(operation.out))
                self._values[operation.out] = np.empty(shape, np.int64)
        for t in range(steps):
            read = self._reader(t)
            for operation in self._loop:
                start = begun[operation.out]
                found = self._result(operation, read, t, start[t] if np.ndim(start) == 3 else start)
                self._values[operation.out][t] = found
        for operation in self.program.head:
            self._values[operation.out] = self._result(operation, self._read_head, _ALL)
        return Fixed(self._values[self.program.logits], self.program.format(self.program.logits))

    def backward(self, gradient: Fixed) -> dict[str, Exact]:
        """Return the exact gradients of the trained constants, given that of the logits (B, C)."""
        found: dict[str, Exact] = {}
        pending: dict[str, Exact] = {self.program.logits: (gradient.integers, gradient.format.fraction)}
        for operation in reversed(self.program.head):
            g = self._taken(operation, pending, _ALL)
            self._pass_on(operation, g, self._read_head, pending, found)
        after = {source: pending.pop(state) for state, source in self.program.states.items() if state in pending}
        stacks = self._through_time(after)
        pending = {}
        everywhere = self._reader(None)
        for operation in reversed(self._loop):
            rule, g = self._rules[operation.out], stacks[operation.out]
            if not isinstance(rule, ApplyRule):
                for name, exact in rule.constants(g, everywhere, self._trained):
                    add(found, name, exact)
                for name, exact in rule.backward(g, everywhere, self._hoisted[operation.out] & self._wanted):
                    add(pending, name, exact)
        for operation in reversed(self._early):
            if operation.out in pending:
                g = self._taken(operation, pending, _ALL)
                self._pass_on(operation, g, everywhere, pending, found)
        return found

    def _through_time(self, pending: dict[str, Exact]) -> dict[str, Fixed]:
        """Go back through the loop; return every result's gradients (T, B, size)."""
        steps = len(self._values["input"])
        stacks = {o.out: np.zeros_like(self._values[o.out]) for o in self._loop}
        slopes = {
            o.out: rule.slope(self._values[o.out]) for o in self._loop if isinstance(rule := self._rules[o.out], ApplyRule)
        }
        for t in reversed(range(steps)):
            read = self._reader(t)
            for operation in reversed(self._loop):
                out, rule = operation.out, self._rules[operation.out]
                if out not in pending:
                    continue
                g = self._taken(operation, pending, t)
                stacks[out][t] = g.integers
                if isinstance(rule, ApplyRule):
                    name, exact = rule.backward(g, slopes[out][t])
                    add(pending, name, exact)
                    continue
                for name, exact in rule.backward(g, read, self._read_late[out]):
                    add(pending, name, exact)
            pending = {s: pending.pop(state) for state, s in self.program.states.items() if state in pending}
        return {name: Fixed(stack, self.gradient) for name, stack in stacks.items()}

    def _taken(self, operation: Operation, pending: dict[str, Exact], where: int) -> Fixed:
        """Round what has reached a result; nothing passes where the result was held."""
        total, fraction = pending.pop(operation.out)
        held = self._held.get((operation.out, where))
        if held is not None:
            total = np.where(held, 0, total)
        return self.arithmetic.store(total, fraction, self.gradient, "gradients")

    def _pass_on(
        self, operation: Operation, g: Fixed, read: Read, pending: dict[str, Exact], found: dict[str, Exact]
    ) -> None:
        rule = self._rules[operation.out]
        if isinstance(rule, ApplyRule):
            add(pending, *rule.backward(g, rule.slope(self._values[operation.out])))
            return
        for name, exact in rule.backward(g, read, self._wanted):
            add(pending, name, exact)
        for name, exact in rule.constants(g, read, self._trained):
            add(found, name, exact)

    def _reader(self, t: int | None) -> Read:
        def read(name: str) -> Ints:
            found = self._values.get(name)
            if found is None:
                return self._constants[name]
            return found if t is None else found[t]

        return read

    def _read_head(self, name: str) -> Ints:
        source = self.program.states.get(name)
        if source is not None:
            return self._values[source][-1]
        return self._values[name] if name in self._values else self._constants[name]

    def _begun(self, operation: Operation) -> Wide | int:
        """What of an affine sum is known before the loop: bias, and products with vectors that no state reaches."""
        rule = self._rules[operation.out]
        if not isinstance(rule, AffineRule):
            return 0
        return rule.total(self._reader(None), self._hoisted[operation.out]) + rule.bias()

    def _result(self, operation: Operation, read: Read, where: int, begun: Wide | int | None = None) -> Ints:
        rule = self._rules[operation.out]
        if isinstance(rule, ApplyRule):
            return rule.value(read)
        if begun is None:
            total = rule.total(read) + rule.bias()
        else:
            total = rule.total(read, self._read_late[operation.out]) + begun
        assert not isinstance(total, int)
        rounded = round_shift(total, rule.shift)
        low, high = rule.bounds
        if rounded.min() < low or rounded.max() > high:
            held = (rounded < low) | (rounded > high)
            self._held[operation.out, where] = held
            to = self.program.format(operation.out)
            beyond = int(((rounded < to.low) | (rounded > to.high)).sum())
            if beyond:
                self.arithmetic.overflows[operation.out] += beyond
            rounded = np.clip(rounded, low, high)
        return rounded


def _reached(program: IntegerProgram, names: frozenset[str]) -> frozenset[str]:
    """Return `names` among the values, and the results of a step that depend on one of them."""
    found = set(names)
    for operation in (*program.step, *program.head):
        if found & set(operation.reads):
            found.add(operation.out)
    return frozenset(found)
