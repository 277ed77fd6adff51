"""The table of task=secure."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table


def over_shares(runs: Sequence[dict[str, Any]]) -> Table:
    """Return the table of secure.json's `runs`: a column each."""
    first = runs[0]
    how = "processes" if first["processes"] else "threads"
    title = f"{first['rows']} test windows, {first['batch']} at once; the parties are {how}"
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="")
    table.add_column("")
    for run in runs:
        table.add_column(f"{run['protocol']}, {run['parties']} parties", justify="right")
    rows = {
        "logits that differ": [f"{run['differing']} of {run['logits']}" for run in runs],
        "test accuracy": [f"{100 * run['accuracy']:.2f} %" for run in runs],
        "seconds, all windows": [f"{run['seconds']:.2f}" for run in runs],
        "seconds an inference": [f"{run['seconds_per_inference']:.4f}" for run in runs],
        "seconds, compiling": [f"{run['compile_seconds']:.2f}" for run in runs],
        "rounds of a batch": [f"{run['rounds']:,}" for run in runs],
        "bytes an inference": [f"{run['bytes_per_inference']:,}" for run in runs],
        "bytes of sharing": [f"{run['shared_bytes']:,}" for run in runs],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table
