"""Records as rich tables."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from edgesearch.report.record import Record, metric_of
from edgesearch.report.shares import percent, percent_within, within
from edgesearch.report.study import RULE, in_words


def summary(record: Record, folder: str) -> Table:
    """Return the table printed at the end of a run: scores, counts, sizes and the folder.

    Test accuracies carry their 95 % interval.
    """
    table = Table(title=_title(record), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right", overflow="fold")
    rows = record["data"]["rows"]
    for level, value in record.get("before", {}).get("test_accuracy", {}).items():
        table.add_row(f"test accuracy ({level}), before", percent_within(value, rows["test"]))
    for level, value in record["test_accuracy"].items():
        table.add_row(f"test accuracy ({level})", percent_within(value, rows["test"]))
    for words, value in _beside_accuracy(record):
        table.add_row(words, percent(value))
    if record.get("lost"):
        table.add_row("integers lose", _lost(record["lost"]))
    for level, value in record["val_accuracy"].items():
        table.add_row(f"validation accuracy ({level})", percent(value))
    table.add_row("chosen epoch, from 0", f"{record['epoch']} of {record['epochs']}")
    table.add_row("non-zeros / parameters", f"{record['nonzeros']} / {record['parameters']}")
    for label, size in record["sizes"].items():
        table.add_row(f"flash / RAM, {label}", f"{size['flash_bytes']:,} / {size['ram_bytes']:,} bytes")
    table.add_row("flash by EdgeML's formula", f"{record['edgeml_bytes']:,} bytes")
    table.add_row("MACs per inference", f"{record['macs']:,}")
    if record.get("overflows") is not None:
        table.add_row("results saturated in training", _counts(record["overflows"]))
    for name in record.get("variants", []):
        table.add_row(f"C, {name}", "no difference")
    if "formats" in record:
        table.add_row("program, C code", "program.npz, export/c")
    table.add_row("folder", folder)
    return table


def _beside_accuracy(record: Record) -> list[tuple[str, float]]:
    """What one accuracy hides: of the last level, which is what ships; nothing for a record of version 0.1."""
    found = [
        (f"test {in_words(metric)}", list(record[f"test_{metric}"].values())[-1])
        for metric in ("balanced_accuracy", "macro_f1")
        if f"test_{metric}" in record
    ]
    return [*found, *([("most common class's share", record["majority_share"])] if "majority_share" in record else [])]


def _lost(lost: Record) -> str:
    points = f"{lost['points']:.2f} points, {lost['explained']:.2f} explained by the test rows"
    return f"{points}; most by {lost['kind']} of {lost['value']}; try {lost['try']}"


def _counts(overflows: dict[str, int]) -> str:
    return ", ".join(f"{place} {count:,}" for place, count in overflows.items()) or "none"


def _title(record: Record) -> str:
    data = record["data"]
    variant = f" ({data['variant']})" if data["variant"] else ""
    part = f", a subset of {data['subset_of']}" if data["subset_of"] else ""
    return f"{record['cell']} on {data['name']}{variant}{part}"


def comparison(points: Sequence[tuple[list[str], Record]]) -> Table:
    """Return one row a sweep point: what its overrides differ in, scores, non-zeros, integer flash, folder name.

    Of the test rows accuracy with its 95 % interval, and balanced accuracy; of the validation rows what decides.
    """
    shared = set.intersection(*(set(overrides) for overrides, _ in points))
    table = Table(title="sweep", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("point", "test", "95 %", "balanced", "validation", "non-zeros", "flash", "folder"):
        outer = name in ("point", "folder")
        table.add_column(name, justify="left" if outer else "right", overflow="fold" if outer else "ellipsis")
    for overrides, record in points:
        integer, level = list(record["sizes"].values())[-1], list(record["test_accuracy"])[-1]
        accuracy, rows = record["test_accuracy"][level], record["data"]["rows"]["test"]
        table.add_row(
            " ".join(_short(override) for override in overrides if override not in shared),
            percent(accuracy),
            within(accuracy, rows),
            percent(record.get("test_balanced_accuracy", {}).get(level)),
            percent(list(record[f"val_{metric_of(record)}"].values())[-1]),
            str(record["nonzeros"]),
            f"{integer['flash_bytes']:,} B",
            record["config_hash"],
        )
    return table


def _short(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key.rsplit('.', 1)[-1]}={value}"


def confusion(record: Record) -> Table:
    """Return the confusion matrix of a record's test split with recall and precision of each class."""
    names = record["data"]["class_names"]
    table = Table(title="confusion matrix: rows are true classes, columns predictions", title_justify="left")
    table.add_column("true", style="bold")
    for name in (*names, "recall, %", "precision, %"):
        table.add_column(name, justify="right")
    shares = zip(record["per_class_accuracy"], record["per_class_precision"], strict=True)
    for name, row, (recall, precision) in zip(names, record["confusion"], shares, strict=True):
        counts = (str(count) if count else "." for count in row)
        table.add_row(name, *counts, *("-" if share is None else f"{100 * share:.1f}" for share in (recall, precision)))
    return table


def with_best(summary: Record) -> list[Record]:
    """Return the records of a study's front and of its best program, which need not be on it; none if nothing fits."""
    if summary["best"] is None:
        return []
    others = [record for record in summary["front"] if record["folder"] != summary["best"]["folder"]]
    return [*others, summary["best"]]


def study_summary(summary: Record) -> Table:
    """Return the table printed at the end of a search: the front, the best program marked, and how the trials ended.

    Its caption says by what rule the best was chosen.
    """
    kinds = ("trained", "pruned", "failed", "infeasible", "repeated")
    counts = ", ".join(f"{summary[kind]} {kind}" for kind in kinds if summary[kind] or kind == "trained")
    table = Table(
        title=f"{summary['study']}: {counts}",
        caption=f"bytes of flash and RAM; validation {in_words(metric_of(summary['best']))}; test accuracy, plain and "
        f"balanced\n{RULE}",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("flash", "RAM", "MACs", "validation", "test", "95 %", "balanced", "bits", "trial", ""):
        table.add_column(name, justify="left" if not name else "right")
    for record in sorted(with_best(summary), key=lambda record: int(record["flash_bytes"])):
        table.add_row(
            f"{record['flash_bytes']:,}",
            f"{record['ram_bytes']:,}",
            f"{record['macs']:,}",
            percent(record[f"val_{metric_of(record)}"]["integer"]),
            percent(record["test_accuracy"]["integer"]),
            within(record["test_accuracy"]["integer"], record["data"]["rows"]["test"]),
            percent(record.get("test_balanced_accuracy", {}).get("integer")),
            f"{record['weight_bits']}, {record['activation_bits']}",
            f"{record['trial']}{', tuned' if record['tuned'] else ''}",
            "best" if record["folder"] == summary["best"]["folder"] else "",
        )
    return table
