"""The charts of a study's report."""

from collections.abc import Sequence
from html import escape
from typing import Any

from edgesearch.report.record import Record
from edgesearch.report.study import ProgramView, StudyView, TrialView, front
from edgesearch.report.svg import (
    BOTTOM,
    HEIGHT,
    TOP,
    Scale,
    axes,
    chart,
    dot,
    horizontal,
    legend,
    line,
    tag,
    text,
    vertical,
)
from edgesearch.report.tables import with_best

_PHASES = {
    "dense": "dense",
    "iht": "iterative hard thresholding",
    "retrain": "sparse retraining",
    "quantized": "in the program's numbers",
}
_CURVES = 8
_REACH = 8.0  # points of accuracy that the learning curves show
_LINES = 200
_AXIS = 74
_COLOURS = 6


def pareto(view: StudyView) -> str:
    """Validation score against flash: every program, the front, and the front's test accuracy."""
    fitting = [program for program in view.programs if program.fits]
    if not fitting:
        return "<p>No program fits the budget.</p>"
    tested = with_best(view.summary) if view.summary else []
    line_of = front(fitting)
    limit = view.limits.get("flash_bytes")
    near = limit if limit and limit < 2 * max(p.flash_bytes for p in fitting) else None
    x = horizontal([*(p.flash_bytes for p in fitting), *([near] if near else [])], log=True)
    accuracies = [p.score for p in fitting] + [_tested(view, r) for r in tested]
    y = _zoomed(accuracies, [p.score for p in line_of])
    shown = [p for p in fitting if 100 * p.score >= y.low]
    parts = [axes(x, y, "bytes of flash", f"{view.words}, %")]
    parts += [_program(p, x, y, r=2.5, class_="other") for p in shown]
    if near:
        parts.append(tag("line", x1=x(near), x2=x(near), y1=TOP, y2=HEIGHT - BOTTOM, class_="limit"))
    parts.append(line([(x(p.flash_bytes), y(100 * p.score)) for p in line_of if p in shown], class_="front"))
    parts += [_program(p, x, y, r=4, class_="best") for p in line_of if p in shown]
    parts += [
        dot(
            x(r["flash_bytes"]),
            y(100 * _tested(view, r)),
            f"trial {r['trial']}: {100 * _tested(view, r):.2f} % on test data, {r['flash_bytes']:,} bytes",
            r=4,
            class_="tested",
        )
        for r in tested
        if 100 * _tested(view, r) >= y.low
    ]
    words = [("best", "front, validation"), ("tested", "front and best, test"), ("other", "other programs")]
    hidden = len(fitting) - len(shown)
    note = f"<p class='note'>{hidden} programs of lower {view.words} are not shown.</p>" if hidden else ""
    return chart("".join(parts), f"{view.words} against flash") + legend(words) + note


def by_width(view: StudyView) -> str:
    """For every width of weights, the front of its programs."""
    fitting = [program for program in view.programs if program.fits]
    if not fitting:
        return "<p>No program fits the budget.</p>"
    widths = sorted({p.weight_bits for p in fitting})
    fronts = {bits: front([p for p in fitting if p.weight_bits == bits]) for bits in widths}
    x = horizontal([p.flash_bytes for p in fitting], log=True)
    reached = [found[-1].score for found in fronts.values()]
    y = _zoomed([p.score for found in fronts.values() for p in found], reached)
    parts = [axes(x, y, "bytes of flash", f"validation {view.words}, %")]
    for index, found in enumerate(fronts.values()):
        colour = f"c{index % _COLOURS}"
        shown = [p for p in found if 100 * p.score >= y.low]
        parts.append(line([(x(p.flash_bytes), y(100 * p.score)) for p in shown], class_=f"line {colour}"))
        parts += [_program(p, x, y, r=3.5, class_=colour) for p in shown]
    words = [(f"c{index % _COLOURS}", f"{bits}-bit weights") for index, bits in enumerate(widths)]
    return chart("".join(parts), f"{view.words} against flash for each bit width") + legend(words)


def parallel(view: StudyView) -> str:
    """Parallel coordinates: what was drawn, the best program's widths and flash, and its accuracy."""
    trials = sorted((t for t in view.trials if t.best is not None), key=_accuracy)[-_LINES:]
    if not trials:
        return "<p>No trial has a program that fits.</p>"
    columns: dict[str, list[Any]] = {name: [t.params.get(name) for t in trials] for name in trials[0].params}
    best = [t.best for t in trials if t.best is not None]
    columns |= {
        "weight bits": [p.weight_bits for p in best],
        "flash, bytes": [p.flash_bytes for p in best],
        f"{view.words}, %": [round(100 * p.score, 2) for p in best],
    }
    width = 40 + _AXIS * len(columns)
    places: list[list[float]] = []
    parts = []
    for index, (name, values) in enumerate(columns.items()):
        x = 40 + _AXIS * index + (_AXIS - 60) / 2
        found, labels = _axis(values)
        places.append(found)
        parts.append(tag("line", x1=x, x2=x, y1=36, y2=HEIGHT - 24, class_="axis"))
        parts.append(text(x, 14 if index % 2 else 28, name.rsplit(".", 1)[-1], text_anchor="middle", class_="title"))
        parts += [text(x + 4, y + 4, label) for y, label in labels]
    lines = []
    for row, (trial, program) in enumerate(zip(trials, best, strict=True)):
        share = row / max(1, len(trials) - 1)
        route = [(40 + _AXIS * index + (_AXIS - 60) / 2, places[index][row]) for index in range(len(columns))]
        described = ", ".join(f"{name.rsplit('.', 1)[-1]} {_short(value)}" for name, value in trial.params.items())
        style = f"stroke: hsl({round(230 - 200 * share)} 70% 45%); opacity: {0.25 + 0.75 * share**2:.2f}"
        lines.append(line(route, class_="route", style=style, data_tip=f"{program.label}; {described}"))
    return f'<div class="wide">{chart("".join([*lines, *parts]), "parallel coordinates", width)}</div>'


def curves(view: StudyView) -> str:
    """Validation accuracy by epoch of the most accurate trials, coloured by phase."""
    chosen = sorted((t for t in view.trials if t.curve and t.best is not None), key=_accuracy)[-_CURVES:]
    if not chosen:
        return "<p>No training has finished.</p>"
    x = horizontal([0, max(len(t.curve) for t in chosen)])
    top = 100 * max(accuracy for t in chosen for _, accuracy, _ in t.curve)
    lowest = 100 * min(accuracy for t in chosen for _, accuracy, _ in t.curve)
    y = vertical([top, max(lowest, top - _REACH)])
    parts = [axes(x, y, "epoch", f"validation {view.words}, %")]
    seen = set()
    for trial in chosen:
        for phase, points in _segments(trial):
            seen.add(phase)
            route = [(x(epoch), y(max(y.low, 100 * accuracy))) for epoch, accuracy in points]
            tip = f"trial {trial.number}, {_PHASES[phase]}: {100 * points[-1][1]:.2f} % at epoch {points[-1][0]}"
            parts.append(line(route, class_=f"curve {phase}", data_tip=tip))
    words = [(phase, name) for phase, name in _PHASES.items() if phase in seen]
    return chart("".join(parts), "learning curves") + legend(words)


def confusion(record: Record) -> str:
    """The confusion matrix of a program on test data, as a table: rows are true classes."""
    names = [str(name) for name in record["data"]["class_names"]]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for name, counts in zip(names, record["confusion"], strict=True):
        total = max(1, sum(counts))
        cells = "".join(
            f'<td style="background: rgb(20 90 160 / {count / total:.2f})"'
            f"{' class=dark' if count / total > 0.5 else ''}>{count or ''}</td>"
            for count in counts
        )
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f'<div class="wide"><table class="confusion"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _program(program: ProgramView, x: Scale, y: Scale, **attributes: object) -> str:
    return dot(x(program.flash_bytes), y(100 * program.score), program.label, **attributes)


def _tested(view: StudyView, record: Record) -> float:
    found: float = record[f"test_{view.metric}"]["integer"]
    return found


def _accuracy(trial: TrialView) -> float:
    return trial.best.score if trial.best is not None else 0.0


def _zoomed(values: Sequence[float], important: Sequence[float]) -> Scale:
    """A vertical scale in percent for the important values and what is near them."""
    low, high = min(important), max(max(important), max(values))
    reach = low - max(high - low, 0.01) / 3
    inside = [100 * v for v in values if v >= reach]
    return vertical([*inside, *(100 * v for v in important)])


def _axis(values: list[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Places of values on a vertical axis, and the labels beside it."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if numbers:
        low, high = min(values), max(values)
        scale = Scale(low, high, HEIGHT - 30, 46, log=low > 0 and high / low > 8)
        labels = [(scale(v), _short(v)) for v in ((low, high) if high > low else (low,))]
        return [scale(v) for v in values], labels
    options = sorted({_short(v) for v in values})
    scale = Scale(0, max(1, len(options) - 1), HEIGHT - 30, 46)
    return [scale(options.index(_short(v))) for v in values], [(scale(k), name) for k, name in enumerate(options)]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def _segments(trial: TrialView) -> list[tuple[str, list[tuple[int, float]]]]:
    """The curve cut where the phase changes; each part begins where the one before ends."""
    found: list[tuple[str, list[tuple[int, float]]]] = []
    for epoch, (phase, accuracy, _) in enumerate(trial.curve):
        if not found or found[-1][0] != phase:
            joint = [found[-1][1][-1]] if found else []
            found.append((phase, joint))
        found[-1][1].append((epoch, accuracy))
    return found
