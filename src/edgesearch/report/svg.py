"""The few things that the report's charts are drawn with: scales, axes, marks. Text in, SVG out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 12, 40


@dataclass(frozen=True)
class Scale:
    """Maps numbers to places on the page, evenly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int = 5) -> list[float]:
        """Return round numbers in the range."""
        if self.log:
            return [2.0**k for k in range(math.ceil(math.log2(self.low)), math.floor(math.log2(self.high)) + 1)]
        step = 10 ** math.floor(math.log10(max(self.high - self.low, 1e-9) / count))
        step = next(step * k for k in (1, 2, 5, 10, 20) if (self.high - self.low) / (step * k) <= count)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def horizontal(values: Iterable[float], *, log: bool = False, width: float = WIDTH) -> Scale:
    """Return a scale across the chart that holds every value."""
    found = list(values)
    low, high = min(found), max(found)
    if log:
        low, high = low / 1.1, high * 1.1
    return Scale(low, high, LEFT, width - RIGHT, log)


def vertical(values: Iterable[float]) -> Scale:
    """Return a scale up the chart that holds every value, with room above and below."""
    found = list(values)
    low, high = min(found), max(found)
    margin = max(0.05 * (high - low), 1e-3)
    return Scale(low - margin, high + margin, HEIGHT - BOTTOM, TOP)


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Return an element; an underscore at the end of an attribute is left out, one inside becomes a hyphen."""
    text = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(v))}"' for key, v in attributes.items())
    return f"<{name}{text}>{content}</{name}>" if content else f"<{name}{text}/>"


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """Return a text element."""
    return tag("text", escape(content), x=round(x, 1), y=round(y, 1), **attributes)


def dot(x: float, y: float, tip: str, **attributes: object) -> str:
    """Return a circle that says `tip` where it is pointed at."""
    return tag("circle", cx=x, cy=y, data_tip=tip, tabindex=0, **attributes)


def line(points: Sequence[tuple[float, float]], **attributes: object) -> str:
    """Return a line through points."""
    return tag("polyline", points=" ".join(f"{x},{y}" for x, y in points), **attributes)


def axes(x: Scale, y: Scale, x_title: str, y_title: str) -> str:
    """Return both axes with grid lines, numbers and titles."""
    parts = []
    across = x.ticks()
    finer = 0 if x.log or len(across) < 2 else _digits(across[1] - across[0])
    for tick in across:
        place = x(tick)
        parts.append(tag("line", x1=place, x2=place, y1=TOP, y2=HEIGHT - BOTTOM, class_="grid"))
        parts.append(text(place, HEIGHT - BOTTOM + 14, f"{tick:,.{finer}f}", text_anchor="middle"))
    ticks = y.ticks()
    digits = _digits(ticks[1] - ticks[0]) if len(ticks) > 1 else 1
    for tick in ticks:
        place = y(tick)
        parts.append(tag("line", x1=LEFT, x2=x.end, y1=place, y2=place, class_="grid"))
        parts.append(text(LEFT - 6, place + 4, f"{tick:.{digits}f}", text_anchor="end"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(text((LEFT + x.end) / 2, HEIGHT - 8, x_title, text_anchor="middle", class_="title"))
    turned = f"rotate(-90 12 {middle})"
    parts.append(text(12, middle, y_title, text_anchor="middle", class_="title", transform=turned))
    return "".join(parts)


def _digits(step: float) -> int:
    """Decimals that tell ticks apart."""
    return max(0, -math.floor(math.log10(step) + 1e-9))


def chart(content: str, label: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """Return the chart's SVG element; `label` is read out by screen readers."""
    return tag("svg", content, viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return a legend of (class, words), in HTML, so that it wraps on narrow screens."""
    items = "".join(f'<li><i class="{escape(name)}"></i>{escape(words)}</li>' for name, words in entries)
    return f'<ul class="legend">{items}</ul>'
