"""Draw a curve as SVG with log axes, where a power law is a straight line and its slope is the exponent.

Written by hand, because a plotting library for seven charts would be the project's largest dependency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isnan, log10

from tests.bench.curves.curve import Drawn, Point

WIDTH, HEIGHT = 860, 420
#: The right margin holds the legend.
LEFT, RIGHT, TOP, BOTTOM = 76, 236, 46, 58
#: A colour-blind-safe palette.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
FONT = 'font-family="system-ui, sans-serif" font-size="13" fill="#222"'


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis: values from `low` to `high`, pixels from `begin` to `end`."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Return a value's pixel position."""
        share = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 times each power of ten; only the powers if there are many."""
        powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        marks = (1,) if len(powers) > 5 else (1, 2, 5)
        near = 1e-9
        return [
            float(mark * 10.0**power)
            for power in powers
            for mark in marks
            if self.low * (1 - near) <= mark * 10.0**power <= self.high * (1 + near)
        ]


def svg(drawn: Drawn, *, note: str) -> str:
    """Return the chart, with `note` below it."""
    points = {name: [(x, y) for x, y in values if x > 0 and y > 0] for name, values in drawn.points.items()}
    every = [point for values in points.values() for point in values]
    if not every:
        raise ValueError(f"{drawn.curve.name} has nothing to draw")
    across = _axis([x for x, _ in every], LEFT, WIDTH - RIGHT)
    up = _axis([y for _, y in every], HEIGHT - BOTTOM, TOP)
    box = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" {FONT}>',
        f"<title>{escape(drawn.curve.title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 24, drawn.curve.title, 'font-weight="600" font-size="15"'),
        *_grid(across, up),
        *_linear(across, up, every[0]),
        _text(WIDTH - RIGHT, HEIGHT - 24, drawn.curve.work, 'text-anchor="end"'),
        _text(LEFT, TOP - 6, drawn.curve.unit),
        _text(LEFT, HEIGHT - 6, note, 'font-size="11" fill="#666"'),
    ]
    exponents, ends = drawn.exponents(), drawn.ends()
    for number, (name, values) in enumerate(points.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts += _line(values, across, up, colour)
        beside, y = WIDTH - RIGHT + 14, TOP + 14 + 40 * number
        parts.append(_text(beside, y, name, f'fill="{colour}" font-weight="600"'))
        slope = (
            "too small to fit"
            if isnan(exponents[name])
            else f"exponent {exponents[name]:.2f}{'' if isnan(ends[name]) else f' (end {ends[name]:.2f})'}"
        )
        parts.append(_text(beside, y + 17, slope, f'fill="{colour}"'))
    return "\n".join([*parts, "</svg>", ""])


def _axis(values: Sequence[float], begin: float, end: float) -> Axis:
    low, high = min(values), max(values)
    return Axis(low / 1.25, high * (1.25 if high / low > 1.5 else 2.0), begin, end)


def _grid(across: Axis, up: Axis) -> list[str]:
    parts = []
    for tick in across.ticks():
        x = across.at(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 17, f"{tick:,.10g}", 'text-anchor="middle"'))
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{tick:,.10g}", 'text-anchor="end"'))
    return parts


def _linear(across: Axis, up: Axis, point: Point) -> list[str]:
    """Draw a dashed reference line of exponent 1 through a point, clipped to the axes."""
    x, y = point
    begin = max(across.low, x * up.low / y)
    end = min(across.high, x * up.high / y)
    places = [(across.at(each), up.at(y * each / x)) for each in (begin, end)]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    key = _text(WIDTH - RIGHT + 14, HEIGHT - BOTTOM, "dashed: linear, exponent 1", 'fill="#666"')
    return [f'<path d="M{path.replace(" ", "L")}" stroke="#999" stroke-dasharray="5 5" fill="none"/>', key]


def _line(values: Sequence[Point], across: Axis, up: Axis, colour: str) -> list[str]:
    places = [(across.at(x), up.at(y)) for x, y in values]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots]


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'
