"""Records as rich tables."""

from collections.abc import Sequence

from rich.table import Table

from edgesearch.report.record import Record


def summary(record: Record, folder: str) -> Table:
    """Return the table printed at the end of a run: accuracies, counts, sizes and the folder."""
    table = Table(title=_title(record), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right", overflow="fold")
    for level, value in record["test_accuracy"].items():
        table.add_row(f"test accuracy ({level})", _percent(value))
    for level, value in record["val_accuracy"].items():
        table.add_row(f"validation accuracy ({level})", _percent(value))
    table.add_row("chosen epoch, from 0", f"{record['epoch']} of {record['epochs']}")
    table.add_row("non-zeros / parameters", f"{record['nonzeros']} / {record['parameters']}")
    for label, size in record["sizes"].items():
        table.add_row(f"flash / RAM, {label}", f"{size['flash_bytes']:,} / {size['ram_bytes']:,} bytes")
    table.add_row("flash by EdgeML's formula", f"{record['edgeml_bytes']:,} bytes")
    table.add_row("MACs per inference", f"{record['macs']:,}")
    table.add_row("folder", folder)
    return table


def _title(record: Record) -> str:
    data = record["data"]
    variant = f" ({data['variant']})" if data["variant"] else ""
    part = f", a subset of {data['subset_of']}" if data["subset_of"] else ""
    return f"{record['cell']} on {data['name']}{variant}{part}"


def comparison(points: Sequence[tuple[list[str], Record]]) -> Table:
    """Return one row a sweep point: the overrides in which points differ, accuracies, sizes and folder name."""
    shared = set.intersection(*(set(overrides) for overrides, _ in points))
    table = Table(title="sweep", title_justify="left")
    for name in ("point", "test", "validation", "non-zeros", "float32", "integer", "folder"):
        table.add_column(name, justify="left" if name in ("point", "folder") else "right")
    for overrides, record in points:
        flash = [f"{size['flash_bytes']:,} B" for size in record["sizes"].values()]
        table.add_row(
            " ".join(o for o in overrides if o not in shared),
            _percent(record["test_accuracy"]["float"]),
            _percent(record["val_accuracy"]["float"]),
            str(record["nonzeros"]),
            *flash,
            record["config_hash"],
        )
    return table


def confusion(record: Record) -> Table:
    """Return the confusion matrix of a record's test split with the accuracy of each class."""
    names = record["data"]["class_names"]
    table = Table(title="confusion matrix: rows are true classes, columns predictions", title_justify="left")
    table.add_column("true", style="bold")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("accuracy", justify="right")
    for name, row, accuracy in zip(names, record["confusion"], record["per_class_accuracy"], strict=True):
        table.add_row(name, *(str(count) if count else "." for count in row), _percent(accuracy))
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"
