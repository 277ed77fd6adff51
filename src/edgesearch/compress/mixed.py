"""Mixed bit widths: lowered greedily, tensor by tensor, while validation accuracy allows it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from edgesearch.atomic import write_text
from edgesearch.compress.calibrate import Ranges, Widths, choose_formats
from edgesearch.compress.graph import Graph
from edgesearch.compress.program import compile_program
from edgesearch.numerics.program import IntegerProgram

WIDTHS = (16, 8, 4, 2)
_ACTIVATIONS = (16, 8)


@dataclass(frozen=True)
class Lowered:
    """The outcome of a search over widths.

    Attributes:
        widths: what was chosen.
        groups: group to width to accuracy, the other groups at the widths at the start.
        start, end: accuracy and bytes of constants before and after.
    """

    widths: Widths
    groups: dict[str, dict[int, float]]
    start: tuple[float, int]
    end: tuple[float, int]

    def __str__(self) -> str:
        """A line a group: accuracy at each width, and the width chosen; then the totals."""
        lines = []
        for group, found in self.groups.items():
            chosen = self.widths.named["input" if group == "activations" else group]
            at = ", ".join(f"{bits} bits {100 * accuracy:.2f} %" for bits, accuracy in found.items())
            lines.append(f"{group}: {at}; chosen {chosen}")
        for words, (accuracy, flash) in (("at the start", self.start), ("in the end", self.end)):
            lines.append(f"{words}: {100 * accuracy:.2f} %, {flash:,} bytes of constants")
        return "\n".join(lines)

    def to_yaml(self) -> str:
        """Text for quantization.yaml."""
        found: dict[str, Any] = {
            "start": {"accuracy": self.start[0], "flash_bytes": self.start[1]},
            "end": {"accuracy": self.end[0], "flash_bytes": self.end[1]},
            "bits": dict(self.widths.named),
            "accuracy_at": {name: dict(found) for name, found in self.groups.items()},
        }
        return OmegaConf.to_yaml(OmegaConf.create(found))

    def save(self, path: Path) -> None:
        """Write quantization.yaml."""
        write_text(path, self.to_yaml())


def lower_widths(
    graph: Graph, ranges: Ranges, start: Widths, accuracy: Callable[[IntegerProgram], float], loss: float
) -> Lowered:
    """Lower the widths of single matrices, and of all activations, as far as accuracy stays within `loss`.

    Each round tries the next width of every group, the one that saves most bytes first; what costs too much is not
    tried again.

    Args:
        graph: the model.
        ranges: from calibration.
        start: widths to begin with.
        accuracy: of a program, on validation data.
        loss: how far accuracy may fall below that of `start`, as a fraction.
    """
    groups: dict[str, tuple[str, ...]] = {n: (n,) for n, role in graph.roles.items() if role == "matrix"}
    groups["activations"] = tuple(
        n for n, role in graph.roles.items() if role in ("input", "activation") and n not in graph.states
    )

    def attempt(named: dict[str, int]) -> tuple[float, int]:
        widths = replace(start, named=named)
        program = compile_program(graph, choose_formats(graph, ranges, widths), widths.function_error)
        return accuracy(program), program.flash_bytes

    def at(named: dict[str, int], group: str, bits: int) -> dict[str, int]:
        return named | dict.fromkeys(groups[group], bits)

    named = {name: start.bits(graph, name) for members in groups.values() for name in members}
    begin = attempt(named)
    table = {
        group: {bits: attempt(at(named, group, bits))[0] for bits in _choices(group, named[members[0]])}
        for group, members in groups.items()
    }
    now, open_groups = begin, set(groups)
    while open_groups:
        tries = {}
        for group in sorted(open_groups):
            lower = [bits for bits in _choices(group, named[groups[group][0]]) if bits < named[groups[group][0]]]
            if lower:
                tries[group] = (*attempt(at(named, group, lower[0])), lower[0])
        allowed = {group: found for group, found in tries.items() if found[0] >= begin[0] - loss}
        open_groups = set(allowed)
        if allowed:
            best = min(allowed, key=lambda group: (allowed[group][1], -allowed[group][0]))
            named, now = at(named, best, allowed[best][2]), allowed[best][:2]
    return Lowered(replace(start, named=named), table, begin, now)


def _choices(group: str, most: int) -> list[int]:
    return [bits for bits in (_ACTIVATIONS if group == "activations" else WIDTHS) if bits <= most]
