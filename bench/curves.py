"""Curves as an SVG picture: a few panels with a logarithmic bottom, no more than the benchmarks need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 760, 250, 70, 40, 40, 190
COLOURS = ("#1f6f8b", "#c8553d", "#588157", "#6d597a", "#b08900", "#444444")


@dataclass(frozen=True)
class Curve:
    """A name, and points (x, y) with x rising."""

    name: str
    points: Sequence[tuple[float, float]]


def drawn(panels: Sequence[tuple[str, str, Sequence[Curve]]]) -> str:
    """The picture of some panels, one below the other: title, what is along the bottom, curves."""
    parts = [_panel(row * HEIGHT, *panel) for row, panel in enumerate(panels)]
    size = f'width="{WIDTH}" height="{HEIGHT * len(panels)}" viewBox="0 0 {WIDTH} {HEIGHT * len(panels)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(top: int, title: str, along: str, curves: Sequence[Curve]) -> str:
    xs = sorted({x for curve in curves for x, _ in curve.points})
    most = max(y for curve in curves for _, y in curve.points)
    step = _round_step(most / 4)
    high = step * math.ceil(most / step)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    begin, end = math.log(xs[0]), math.log(xs[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + wide * (math.log(x) - begin) / (end - begin), top + TOP + tall * (1 - y / high)

    out = [f'<text x="{LEFT}" y="{top + 22}" font-weight="bold">{escape(title)}</text>']
    for number in range(round(high / step) + 1):
        _, y = place(xs[0], number * step)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + wide}" y2="{y:.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_told(number * step)}</text>')
    for x in xs:
        out.append(
            f'<text x="{place(x, 0)[0]:.1f}" y="{top + HEIGHT - BOTTOM + 16}" text-anchor="middle">{_told(x)}</text>'
        )
    out.append(f'<text x="{LEFT + wide}" y="{top + HEIGHT - 8}" text-anchor="end">{escape(along)}</text>')
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        places = [place(x, y) for x, y in curve.points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        at = top + TOP + 12 + 18 * number
        out.append(f'<rect x="{WIDTH - RIGHT + 14}" y="{at - 9}" width="12" height="10" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 32}" y="{at}">{escape(curve.name)}</text>')
    return "\n".join(out)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is no less."""
    power = 10 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def _told(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
