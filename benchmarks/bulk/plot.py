"""Recall curves as SVG, one panel a number of most influential rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from tasks.results.palette import CATEGORY_RANGE, NEUTRAL

WIDTH, HEIGHT = 360, 270
LEFT, TOP, RIGHT, BOTTOM = 46, 34, 12, 40
LEGEND = 18
METHODS = (
    "last-layer influence",
    "gradient product",
    "gradient norm alone",
    "nearest neighbours (kNN)",
)
COLOURS = {
    "sketch": ("#b7b1db", "#948bc9", "#7065b7", "#4d3fa5", CATEGORY_RANGE[0]),
    **dict(zip(METHODS, CATEGORY_RANGE[1:], strict=False)),
    "chance": NEUTRAL.light,
}
INK, RULE = "#333333", "#dddddd"

Curve = Sequence[float]


def svg(title: str, shares: Curve, panels: Mapping[str, Mapping[str, Curve]]) -> str:
    """Return panels side by side, by title, each with a curve a method; the legend is below."""
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    colours = colours_of(names)
    width = WIDTH * len(panels)
    height = HEIGHT + LEGEND * -(-len(names) // 2) + 16
    body = [_text(width / 2, 16, title, "middle", 14)]
    for place, (name, curves) in enumerate(panels.items()):
        body += [f'<g transform="translate({place * WIDTH} 10)">']
        body += [*_axes(name, shares), *_curves(shares, curves, colours), "</g>"]
    body += _legend(names, colours, width / 2)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    style = f'{head} width="{width}" height="{height}" font-family="sans-serif" fill="{INK}">'
    return "\n".join([style, ground, *body, "</svg>"]) + "\n"


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour a method; later sketches have a darker one."""
    tints = iter(COLOURS["sketch"])
    return {
        name: next(tints) if name.startswith("sketch") else str(COLOURS[name]) for name in names
    }


def _across(share: float, shares: Curve) -> float:
    """Return the x coordinate of a share on a logarithmic axis."""
    part = math.log(share / shares[0]) / math.log(shares[-1] / shares[0])
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _up(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)


def _axes(name: str, shares: Curve) -> list[str]:
    lines = [_text((WIDTH + LEFT) / 2, TOP - 8, name, "middle", 12)]
    for tenths in range(0, 11, 2):
        y = _up(tenths / 10)
        lines.append(_line(LEFT, y, WIDTH - RIGHT, y))
        lines.append(_text(LEFT - 6, y + 4, f"{tenths / 10:.1f}", "end", 11))
    for share in shares:
        x = _across(share, shares)
        lines.append(_line(x, _up(0), x, _up(1)))
        lines.append(_text(x, _up(0) + 15, f"{100 * share:g}", "middle", 11))
    below = "candidates, % of the training rows"
    return [*lines, _text((WIDTH + LEFT) / 2, HEIGHT - 8, below, "middle", 11)]


def _curves(shares: Curve, curves: Mapping[str, Curve], colours: Mapping[str, str]) -> list[str]:
    elements = []
    for name, values in curves.items():
        points = " ".join(
            f"{_across(share, shares):.1f},{_up(value):.1f}"
            for share, value in zip(shares, values, strict=True)
        )
        look = f'fill="none" stroke="{colours[name]}" stroke-width="2"'
        elements.append(f'<polyline points="{points}" {look}{_dashes(name)}/>')
    return elements


def _legend(names: Sequence[str], colours: Mapping[str, str], middle: float) -> list[str]:
    elements = []
    for place, name in enumerate(names):
        x = 30 + (place % 2) * middle
        y = HEIGHT + 22 + LEGEND * (place // 2)
        look = f'stroke="{colours[name]}" stroke-width="3"{_dashes(name)}'
        elements.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 24}" y2="{y - 4}" {look}/>')
        elements.append(_text(x + 32, y, name, "start", 12))
    return elements


def _dashes(name: str) -> str:
    return "" if name.startswith("sketch") else ' stroke-dasharray="5 3"'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    at = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {at} stroke="{RULE}"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {at}>{escape(text)}</text>"
