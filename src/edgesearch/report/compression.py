"""The tables of the compression tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from edgesearch.report.record import Record
from edgesearch.report.shares import percent, percent_within
from edgesearch.report.study import in_words


@dataclass(frozen=True)
class Layer:
    """What a layer costs: multiply-accumulates of one inference, parameters, bytes of weights and of its result."""

    name: str
    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class Profile:
    """What a model costs in all, and its accuracy on so many rows of test data."""

    label: str
    layers: list[Layer]
    macs: int
    parameters: int
    flash_bytes: int
    ram_bytes: int
    accuracy: float
    rows: int


def narrowing(found: Record) -> Table:
    """Return the table of a quantization.yml: width to accuracy by group, and the widths chosen."""
    widths = sorted({bits for group in found["groups"].values() for bits in group["accuracy_at"]}, reverse=True)
    title = (
        f"{_whose(found)}: {100 * found['reference_accuracy']:.2f} % in floats, {100 * found['accuracy']:.2f} % "
        f"at the chosen widths, {found['flash_bytes']:,} bytes of constants"
    )
    table = _table(title, ["group", *(f"{bits} bits" for bits in widths), "chosen"])
    for name, group in found["groups"].items():
        at = group["accuracy_at"]
        cells = [f"{100 * at[bits]:.2f} %" if bits in at else "" for bits in widths]
        table.add_row(name, *cells, f"{group['bits']} bits")
    return table


def removed(found: Record) -> Table:
    """Return the table of a pruning.yml: what is gone of each layer, and what it cost."""
    title = (
        f"{_whose(found)}: {100 * found['accuracy_before']:.2f} % before, {100 * found['accuracy']:.2f} % after, "
        f"{found['parameters_before']:,} to {found['parameters']:,} parameters"
    )
    table = _table(title, ["layer", "type", "pruned / total", "percent"])
    for name, layer in found["layers"].items():
        share = 100 * layer["pruned"] / layer["total"]
        table.add_row(name, layer["type"], f"{layer['pruned']} / {layer['total']}", f"{share:.1f} %")
    rate = 100 * (1 - found["parameters"] / found["parameters_before"])
    table.add_row("all parameters", "", "", f"{rate:.1f} %", style="bold")
    return table


def profiles(found: Sequence[Profile]) -> list[Table]:
    """Return a table of the totals and one of the layers of the last profile."""
    totals = _table("in all", ["", "MACs", "parameters", "flash", "RAM", "test"])
    for profile in found:
        totals.add_row(
            profile.label,
            f"{profile.macs:,}",
            f"{profile.parameters:,}",
            f"{profile.flash_bytes:,} B",
            f"{profile.ram_bytes:,} B",
            percent_within(profile.accuracy, profile.rows),
        )
    last = found[-1]
    layers = _table(f"by layer: {last.label}", ["weights", "MACs", "parameters", "weight bytes", "activation bytes"])
    for layer in last.layers:
        cells = (layer.macs, layer.parameters, layer.weight_bytes, layer.activation_bytes)
        layers.add_row(layer.name, *(f"{cell:,}" for cell in cells))
    return [totals, layers]


def metrics(label: str, record: Record, flash: int, ram: int) -> Table:
    """Return the table of a measured variant: its scores at every level, flash and RAM."""
    table = _table(label, ["", "test accuracy", "balanced accuracy", "macro F1"])
    for level, accuracy in record["test_accuracy"].items():
        others = (record[f"test_{metric}"][level] for metric in ("balanced_accuracy", "macro_f1"))
        within = percent_within(accuracy, record["data"]["rows"]["test"])
        table.add_row(level, within, *(percent(value) for value in others))
    table.add_row("most common class's share", percent(record["majority_share"]), "", "")
    if record["lost"]:
        table.add_row(f"integers lose, most at {record['lost']['value']}; try", record["lost"]["try"], "", "")
    for name in record["variants"]:
        table.add_row(f"C, {name}", "no difference", "", "")
    table.add_row("flash / RAM", f"{flash:,} / {ram:,} bytes", "", "")
    return table


def _whose(found: Record) -> str:
    return f"{found['cell']}, validation {in_words(found['metric'])}"


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in (columns[0], "type") else "right")
    return table
