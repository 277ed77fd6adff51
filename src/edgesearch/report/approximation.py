"""What task=approximate shows: a table of figures, and a plot of the function and of its error. Plain numbers in."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from edgesearch.report.record import Record
from edgesearch.report.svg import BOTTOM, HEIGHT, TOP, WIDTH, Scale, axes, horizontal, line, tag, text, vertical

_STYLE = (
    "svg{font:11px system-ui,sans-serif;background:#fff}text{fill:#5c6675}.title{fill:#1c2430}.grid{stroke:#dfe4ea}"
    "polyline{fill:none;stroke-linejoin:round}.value{stroke:#14589f;stroke-width:2}.error{stroke:#14589f;stroke-width:1}"
    ".joint{stroke:#a16207;stroke-dasharray:2 3;opacity:.7}.limit{stroke:#c2410c;stroke-dasharray:4 3}"
)


@dataclass(frozen=True)
class Curve:
    """What is plotted.

    Attributes:
        title: the function and its table, in words.
        x: of the points, ascending.
        value: of the table there.
        low, high: the least and the greatest error in the neighbourhood of each point.
        joints: where segments meet.
        allowed: the largest error wanted.
        of: `x`, or what else runs across.
    """

    title: str
    x: Sequence[float]
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    joints: Sequence[float]
    allowed: float
    of: str = "x"


def figures(report: Record, folder: str) -> Table:
    """Return the table that is printed."""
    kind, error = report["kind"], report["error"]
    table = Table(title=report["title"], show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right", overflow="fold")
    table.add_row("formats of x and of the value", f"{report['source']} to {report['to']}")
    table.add_row("segments of degree", f"{report['segments']} of degree {report['degree']}")
    table.add_row("segments by bisection alone", str(report["bisected"]))
    table.add_row(f"worst {kind} error", f"{error:.3g}, {report['over']}")
    table.add_row("in units of the last place", f"{report['ulps']:.4g} of {report['unit']:.3g}")
    table.add_row("where", f"{report['variable']} = {report['worst_at']:.6g}")
    table.add_row(
        "largest jump at a joint", f"{report['jump']} unit{'' if report['jump'] == 1 else 's'} of the last place"
    )
    table.add_row("tables", f"{report['flash_bytes']:,} bytes")
    table.add_row("folder", folder)
    return table


def plot(curve: Curve) -> str:
    """Return a complete SVG file: the function above, its error below, joints marked in both."""
    x = horizontal(curve.x)
    y = vertical(curve.value)
    above = [axes(x, y, curve.of, "value"), *_joints(curve, x)]
    above.append(line([(x(a), y(b)) for a, b in zip(curve.x, curve.value, strict=True)], class_="value"))
    shares = [[100 * e / curve.allowed for e in errors] for errors in (curve.low, curve.high)]
    y = vertical([-110, 110, *shares[0], *shares[1]])
    below = [axes(x, y, curve.of, f"error, % of {curve.allowed:g}"), *_joints(curve, x)]
    below += [tag("line", x1=x.start, x2=x.end, y1=y(at), y2=y(at), class_="limit") for at in (-100, 100)]
    route = [(x(a), y(e)) for a, low, high in zip(curve.x, *shares, strict=True) for e in (low, high)]
    below.append(line(route, class_="error"))
    parts = [
        f"<style>{_STYLE}</style>",
        text(x.start, 16, curve.title, class_="title"),
        tag("g", "".join(above), transform="translate(0 16)"),
        tag("g", "".join(below), transform=f"translate(0 {HEIGHT + 16})"),
    ]
    size = f"0 0 {WIDTH} {2 * HEIGHT + 16}"
    return tag("svg", "".join(parts), xmlns="http://www.w3.org/2000/svg", viewBox=size, width=920) + "\n"


def _joints(curve: Curve, x: Scale) -> list[str]:
    return [tag("line", x1=x(j), x2=x(j), y1=TOP, y2=HEIGHT - BOTTOM, class_="joint") for j in curve.joints]
