"""What a key may be: its range, its choices, how many entries a list or mapping may have, and a value that is right.

Every number has an upper bound: one that nobody means, and that a machine still survives.
"""

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

FIRST = "0.1"
_SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Rule:
    """The values a key may take: a closed or half-open interval, or a list of choices.

    Attributes:
        entries: the most that a list or a mapping may have; the other rules hold for each of them.
        usual: a value to propose where the interval says little.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    entries: int | None = None
    usual: float | None = None

    def broken_by(self, value: Any) -> str | None:
        """Return the part of the rule that `value` breaks, in words, or None."""
        return next((broken for broken, _ in self._broken(value)), None)

    def remedy(self, value: Any) -> str:
        """Return, as an override has it, a value that obeys what `value` breaks."""
        return next((remedy for _, remedy in self._broken(value)), "")

    def _broken(self, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, list | dict):
            yield from self._broken_entries(value)
        elif self.choices:
            if value not in self.choices:
                yield f"one of {', '.join(self.choices)}", self.choices[0]
        elif isinstance(value, float) and not math.isfinite(value):
            yield "a finite number", self._inside()
        else:
            bounds: tuple[tuple[float | None, str, Callable[[Any, Any], bool], Callable[[], str]], ...] = (
                (self.at_least, "at least", operator.ge, lambda: number(self.at_least)),
                (self.above, "greater than", operator.gt, self._inside),
                (self.at_most, "at most", operator.le, lambda: number(self.at_most)),
                (self.below, "less than", operator.lt, lambda: self._under(value)),
            )
            for bound, words, holds, remedy in bounds:
                if bound is not None and not holds(value, bound):
                    yield f"{words} {number(bound)}", remedy()

    def _broken_entries(self, value: list[Any] | dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Those of a mapping are looked at one by one, as each has a name."""
        if self.entries is not None and len(value) > self.entries:
            yield f"of at most {self.entries} entries", "{}" if isinstance(value, dict) else "[]"
        for entry in value if isinstance(value, list) else ():
            for broken, remedy in self._broken(entry):
                yield broken, f"[{remedy}]"

    def _inside(self) -> str:
        if self.usual is not None:
            return number(self.usual)
        if self.above is None:
            return number(next((b for b in (self.at_least, self.at_most, self.below) if b is not None), 0))
        top = next(b for b in (self.at_most, self.below) if b is not None)
        return number(self.above + (top - self.above) / 2)

    def _under(self, value: Any) -> str:
        assert self.below is not None
        return number(self.below - 1) if isinstance(value, int) else self._inside()


def number(value: float | None) -> str:
    """Return a number as an override has it: whole ones in full."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def key(rule: Rule | None = None, *, machine: bool = False, since: str = FIRST, before: Any = None) -> Any:
    """Declare a mandatory key.

    Args:
        rule: the values it may take.
        machine: paths, devices, display: left out of a run's identity.
        since: the version that brought it.
        before: how versions without it behaved. Older files are read with this value, and a run that has it keeps the
            identity it had then.
    """
    return field(
        default=MISSING, metadata={"rule": rule or Rule(), "machine": machine, "since": since, "before": before}
    )


def up_to(most: float, *, least: float = 1, entries: int | None = None, usual: float | None = None) -> Rule:
    """Return the rule of a count or another quantity with both ends."""
    return Rule(at_least=least, at_most=most, entries=entries, usual=usual)


def positive(most: float, usual: float) -> Rule:
    """Return the rule of a quantity above zero."""
    return Rule(above=0, at_most=most, usual=usual)


SHARE = Rule(at_least=0, below=1)
WIDTH = up_to(4096)  # units, channels, ranks: far beyond any chip, and still a model that can be made
LAYERS = up_to(64)
EPOCHS = up_to(100_000)
STEPS = up_to(1_000_000)  # of an optimiser or of rows; also "never" of a patience
FLOAT32 = 3e38  # the optimiser computes in these
RATE = positive(FLOAT32, usual=0.01)
SECONDS = Rule(at_least=0, at_most=1e9)  # thirty years
MILLISECONDS = positive(1000, usual=20)
POINTS = Rule(at_least=0, at_most=100)  # of accuracy
CHIP_BYTES = up_to(2**40)
WEIGHT_BITS, ACTIVATION_BITS = (2, 16), (8, 16)
