"""The groups of a model whose bit widths are searched together, as in Ristretto (Gysel et al. 2016)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgesearch.compress.calibrate import Ranges, Widths, choose_formats
from edgesearch.compress.graph import Graph
from edgesearch.compress.program import compile_program
from edgesearch.numerics.format import Format
from edgesearch.numerics.program import IntegerProgram

WEIGHT_WIDTHS = (16, 8, 4, 2)  # (3 bits are stored in 4)
VALUE_WIDTHS = (16, 8)
_START = 16

Groups = dict[str, tuple[str, ...]]


def groups(graph: Graph) -> Groups:
    """Return names of constants and values by group.

    Convolutional networks: `conv`, `dense`, `activations`. Recurrent ones: `W`, `U`, `head`, `state`, `gates`; the
    input and what it is scaled to are among the gates.
    """
    found: dict[str, list[str]] = {}
    for name, role in graph.roles.items():
        group = _weights_group(graph, name) if role == "matrix" else _value_group(graph, name)
        if group is not None:
            found.setdefault(group, []).append(name)
    return {group: tuple(names) for group, names in found.items()}


def _weights_group(graph: Graph, name: str) -> str:
    if not graph.states:
        return "conv" if graph.parameters[name]().dim() == 4 else "dense"
    part = name.partition("_")[2]
    return part[0] if part[:1] in ("W", "U") else "head"


def _value_group(graph: Graph, name: str) -> str | None:
    if graph.roles[name] not in ("input", "activation") or name in graph.states:
        return None
    if not graph.states:
        return "activations"
    return "state" if name in graph.states.values() else "gates"


@dataclass(frozen=True)
class Narrowed:
    """The narrowest widths that keep accuracy.

    Attributes:
        reference: the float model's accuracy.
        margin: what may be lost of it, as a fraction.
        accuracy_at: group to width to accuracy, the other groups at 16 bits.
        chosen: the width of each group.
        bits: the same by name of constants and values.
        accuracy: of the program at the chosen widths.
        program: that one.
        formats: of its values and constants.
    """

    reference: float
    margin: float
    accuracy_at: dict[str, dict[int, float]]
    chosen: dict[str, int]
    bits: dict[str, int]
    accuracy: float
    program: IntegerProgram
    formats: dict[str, Format]

    def to_yaml(self) -> dict[str, Any]:
        """Plain values for quantization.yml."""
        return {
            "reference_accuracy": self.reference,
            "error_margin": 100 * self.margin,
            "groups": {
                group: {"bits": self.chosen[group], "accuracy_at": dict(found)}
                for group, found in self.accuracy_at.items()
            },
            "accuracy": self.accuracy,
            "flash_bytes": self.program.flash_bytes,
            "bits": dict(self.bits),
            "formats": {name: str(chosen) for name, chosen in self.formats.items()},
        }


def narrow(
    graph: Graph,
    ranges: Ranges,
    start: Widths,
    accuracy: Callable[[IntegerProgram], float],
    reference: float,
    margin: float,
) -> Narrowed:
    """Find the narrowest width of each group alone, then of all together.

    Alone, a group is narrowed until accuracy falls below `reference` - `margin`. Together, as long as that is so, the
    group whose next wider width brings back most takes it.

    Args:
        graph: the model.
        ranges: from calibration.
        start: how ranges and tables are chosen.
        accuracy: of a program, on validation data.
        reference: accuracy of the float model.
        margin: what may be lost, as a fraction.
    """
    members = groups(graph)

    def program(chosen: Mapping[str, int]) -> tuple[IntegerProgram, dict[str, Format]]:
        widths = replace(start, named=_by_name(members, chosen))
        formats = choose_formats(graph, ranges, widths)
        return compile_program(graph, formats, widths.function_error), formats

    wide = dict.fromkeys(members, _START)
    at_start = accuracy(program(wide)[0])
    least = min(reference, at_start) - margin
    table: dict[str, dict[int, float]] = {}
    for group in members:
        table[group] = {}
        for bits in _widths(group):
            found = at_start if bits == _START else accuracy(program(wide | {group: bits})[0])
            table[group][bits] = found
            if found < least:
                break
    chosen = {group: min(bits for bits, found in row.items() if found >= least) for group, row in table.items()}
    made, formats = program(chosen)
    reached = accuracy(made)
    while reached < least and any(chosen[group] < _START for group in members):
        wider = {group: _wider(group, bits) for group, bits in chosen.items() if bits < _START}
        tried = {group: accuracy(program(chosen | {group: bits})[0]) for group, bits in wider.items()}
        best = max(tried, key=lambda group: tried[group])
        chosen[best] = wider[best]
        made, formats = program(chosen)
        reached = accuracy(made)
    by_name = _by_name(members, chosen)
    return Narrowed(reference, margin, table, chosen, by_name, reached, made, formats)


def _by_name(members: Groups, chosen: Mapping[str, int]) -> dict[str, int]:
    return {name: chosen[group] for group, names in members.items() for name in names}


def _widths(group: str) -> tuple[int, ...]:
    return VALUE_WIDTHS if group in ("activations", "state", "gates") else WEIGHT_WIDTHS


def _wider(group: str, bits: int) -> int:
    return min(width for width in _widths(group) if width > bits)
