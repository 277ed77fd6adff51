"""A study's report: one HTML file that needs nothing else."""

from html import escape
from importlib.resources import files
from pathlib import Path

from edgesearch.atomic import write_text
from edgesearch.report import charts
from edgesearch.report.record import Record
from edgesearch.report.shares import percent, percent_within
from edgesearch.report.study import RULE, StudyView
from edgesearch.report.tables import with_best

_KINDS = ("trained", "pruned", "failed", "infeasible", "repeated", "running")
_REASONS = 5
_ASSETS = ("report.css", "report.js")


def write_page(view: StudyView, path: Path) -> None:
    """Write the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(view).encode("utf-8", "backslashreplace").decode("utf-8"))


def page(view: StudyView) -> str:
    """Return the report's HTML."""
    best = view.summary["best"] if view.summary else None
    sections = [
        _head(view, best),
        _section(
            f"{view.words.capitalize()} against flash",
            charts.pareto(view),
            "Every program within the budget, on validation data.",
        ),
        _section("For every bit width", charts.by_width(view), "The best programs of each width of weights."),
        _section(
            "What was tried",
            charts.parallel(view),
            "A line a trained model with its best program; ranks as drawn: one that saves nothing is the full rank.",
            wide=True,
        ),
        _section("Learning curves", charts.curves(view), "Of the most accurate trials, coloured by phase."),
    ]
    if best is not None:
        sections += [
            _section("Confusion, best program", charts.confusion(best), "Test data; rows are true classes."),
            _section(
                "Best programs",
                _programs(view),
                "Tested once, after the search; below each what makes it again.",
                wide=True,
            ),
            _section(
                "Formats and saturation, best program", _formats(best), "s2.13: sign, 2 integer bits, 13 of fraction."
            ),
        ]
    sections.append(_section("Not trained", _reasons(view), "Configurations that cannot fit the budget, and failures."))
    return document(view.name, "".join(sections))


def document(title: str, content: str) -> str:
    """Return a complete HTML file with the reports' style and pointer notes."""
    style, script = (files("edgesearch.report").joinpath("assets", name).read_text("utf-8") for name in _ASSETS)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: edgesearch</title><style>{style}</style></head>"
        f'<body><main>{content}</main><div id="tip" role="tooltip" hidden></div>'
        f"<script>{script}</script></body></html>\n"
    )


def _section(title: str, content: str, note: str, *, wide: bool = False) -> str:
    kind = ' class="across"' if wide else ""
    return f"<section{kind}><h2>{escape(title)}</h2><p class='note'>{escape(note)}</p>{content}</section>"


def _head(view: StudyView, best: Record | None) -> str:
    kinds = view.kinds()
    counts = ", ".join(f"{kinds[kind]} {kind}" for kind in _KINDS if kind in kinds) or "none"
    limits = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in view.limits.items()) or "none"
    facts = [("data and cell", view.about), ("objective", view.objective), ("limits", limits), ("trials", counts)]
    if view.summary is not None:
        facts.append(("time", f"{view.summary['seconds'] / 60:.1f} minutes"))
    text = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f'<header class="across"><h1>{escape(view.name)}</h1>{_best(best)}<dl>{text}</dl></header>'


def _best(best: Record | None) -> str:
    if best is None:
        return "<p>No program has been tested: the search has not ended, or nothing fits.</p>"
    return (
        f'<p class="best"><b>{percent_within(best["test_accuracy"]["integer"], best["data"]["rows"]["test"])}</b> on '
        "test data as integers, "
        f"<b>{best['flash_bytes']:,}</b> bytes of flash, <b>{best['ram_bytes']:,}</b> bytes of RAM, "
        f"<b>{best['macs']:,}</b> multiply-accumulates</p>"
    )


def _programs(view: StudyView) -> str:
    assert view.summary is not None
    rows = []
    for record in sorted(with_best(view.summary), key=lambda record: int(record["flash_bytes"])):
        marked = ' class="chosen"' if record["folder"] == view.summary["best"]["folder"] else ""
        tuned = ", tuned" if record["tuned"] else ""
        commands = "".join(f"<code>{escape(command)}</code>" for command in record["command"])
        cells = (
            f"{record['flash_bytes']:,}",
            f"{record['ram_bytes']:,}",
            f"{record['macs']:,}",
            percent(record[f"val_{view.metric}"]["integer"]),
            percent_within(record["test_accuracy"]["integer"], record["data"]["rows"]["test"]),
            percent(record.get("test_balanced_accuracy", {}).get("integer")),
            percent(record.get("test_macro_f1", {}).get("integer")),
            f"{record['weight_bits']}, {record['activation_bits']}",
            f"{record['trial']}{tuned}",
        )
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(
            f"<tr{marked}>{values}</tr><tr{marked}><td class='command' colspan={len(cells)}>{commands}</td></tr>"
        )
    scores = (f"validation {view.words}", "test accuracy, 95 % interval", "balanced", "macro F1")
    head = ("flash", "RAM", "MACs", *scores, "bits", "trial")
    return f'<p class="note">{escape(RULE)}.</p><div class="wide">{_table(head, rows)}</div>'


def _formats(record: Record) -> str:
    rows = []
    for name, chosen in record["formats"].items():
        counts = record["saturations"].get(name)
        held = "" if counts is None else f"{sum(counts):,}"
        encoding = record["encodings"].get(name, "")
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{escape(chosen)}</td><td>{escape(encoding)}</td><td>{held}</td></tr>"
        )
    head = ("value or constant", "format", "encoding", "saturated on test data")
    return f'<div class="tall">{_table(head, rows)}</div>'


def _reasons(view: StudyView) -> str:
    told = [trial for trial in view.trials if trial.reason]
    if not told:
        return "<p>None.</p>"
    words = [f"trial {trial.number}, {trial.kind}: {trial.reason}" for trial in told[:_REASONS]]
    items = "".join(f"<li>{escape(line)}</li>" for line in words)
    more = f"<p>and {len(told) - _REASONS} more</p>" if len(told) > _REASONS else ""
    return f"<ul>{items}</ul>{more}"


def _table(head: tuple[str, ...], rows: list[str]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
