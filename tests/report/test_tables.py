"""What a user reads: every figure of the record is in its table."""

from typing import Any

from rich.console import Console
from rich.table import Table

from edgesearch.report.tables import comparison, confusion, summary

RECORD: dict[str, Any] = {
    "cell": "fastgrnn",
    "data": {
        "name": "har6",
        "variant": "9ch_subset",
        "subset_of": "UCI HAR",
        "class_names": ["sit", "walk"],
        "rows": {"train": 10, "validation": 10, "test": 160},
    },
    "test_accuracy": {"float": 0.8125},
    "val_accuracy": {"float": 0.75},
    "per_class_accuracy": [0.5, None],
    "per_class_precision": [1.0, 0.0],
    "test_balanced_accuracy": {"float": 0.7125},
    "test_macro_f1": {"float": 0.6125},
    "majority_share": 0.625,
    "config": {"train": {}},
    "confusion": [[3, 3], [0, 0]],
    "epoch": 7,
    "epochs": 9,
    "nonzeros": 920,
    "parameters": 1576,
    "sizes": {
        "float32": {"flash_bytes": 3844, "ram_bytes": 316},
        "8-bit": {"flash_bytes": 1156, "ram_bytes": 158},
    },
    "edgeml_bytes": 6304,
    "macs": 96448,
    "config_hash": "0123456789ab",
}


def text(table: Table) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_summary_names_everything_and_says_what_is_a_subset() -> None:
    found = text(summary(RECORD, "outputs/x"))
    for words in (
        "81.25 % (74.5 to 86.5)",
        "71.25 %",
        "61.25 %",
        "62.50 %",
        "75.00 %",
        "7 of 9",
        "920 / 1576",
        "3,844 / 316",
        "1,156 / 158",
        "6,304",
        "96,448",
        "outputs/x",
    ):
        assert words in found
    assert "a subset of UCI HAR" in found


def test_the_confusion_matrix_counts_and_leaves_unknown_accuracies_open() -> None:
    rows = text(confusion(RECORD)).splitlines()
    assert any("sit" in row and "50.0" in row and row.count("3") >= 2 for row in rows)
    assert any("walk" in row and "-" in row for row in rows)


def test_a_sweep_shows_only_what_differs() -> None:
    first = ["data=har6", "cell.wRank=4", "schedule.sparsity=0.5"]
    second = ["data=har6", "cell.wRank=8", "schedule.sparsity=0.5"]
    found = text(comparison([(first, RECORD), (second, RECORD)]))
    assert "wRank=4" in found
    assert "wRank=8" in found
    assert "sparsity" not in found
    assert "1,156 B" in found
    assert "0123456789ab" in found
