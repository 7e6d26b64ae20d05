"""Radial plot of queries and of the training rows that influence them, as SVG."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tasks.results.palette import HARMFUL, HELPFUL, NEUTRAL

SIDE, OUTER, INNER, EDGES = 620, 230, 130, 400
RING = 26
"""Distance between the inner circles, one a kind of training rows."""


def render_radial_plot(
    effects: Float[Tensor, "q n"], slices: Sequence[str], kinds: Sequence[str]
) -> str:
    """Return lines for the strongest effects, from training rows inside to queries outside.

    A training row lies in the mean direction of the queries on which it acts, weighted by the
    squared effects. Each kind of training rows has its own circle.

    Args:
        effects: Removal effects.
        slices: Slice of each query; queries of one slice are adjacent.
        kinds: Kind of each training row.
    """
    order = sorted(range(len(slices)), key=lambda i: list(dict.fromkeys(slices)).index(slices[i]))
    angle = torch.empty(len(slices))
    angle[torch.tensor(order)] = 2 * math.pi * torch.arange(len(slices)) / len(slices)
    # Normalized for each query: otherwise one query gets all lines.
    sized = effects / effects.abs().amax(1, keepdim=True).clamp_min(1e-30)
    strongest = sized.abs().flatten().topk(min(EDGES, sized.numel())).indices
    queries: list[int] = (strongest // sized.shape[1]).tolist()
    rows: list[int] = (strongest % sized.shape[1]).tolist()
    positions = {row: _place_row(sized[:, row], angle, kinds[row], kinds) for row in set(rows)}
    lines = []
    for query, row in zip(queries, rows, strict=True):
        size = float(sized[query, row])
        x, y = _point_at(OUTER, float(angle[query]))
        u, v = positions[row]
        lines.append(
            f'<line x1="{u:.1f}" y1="{v:.1f}" x2="{x:.1f}" y2="{y:.1f}" stroke-opacity='
            f'"{0.1 + 0.5 * abs(size):.2f}" stroke="{(HELPFUL if size > 0 else HARMFUL).light}"/>'
        )
    dots = [_render_dot(*_point_at(OUTER, float(a)), 3, "#111827") for a in angle]
    dots += [_render_dot(*position, 2.5, NEUTRAL.light) for position in positions.values()]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIDE}" height="{SIDE}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
    )
    return (
        "\n".join(
            [
                head,
                *lines,
                *dots,
                *_render_slice_names(angle, slices),
                *_render_ring_names(kinds),
                "</svg>",
            ]
        )
        + "\n"
    )


def _point_at(radius: float, angle: float) -> tuple[float, float]:
    return SIDE / 2 + radius * math.cos(angle), SIDE / 2 + radius * math.sin(angle)


def _place_row(
    row_effects: Tensor, angle: Tensor, kind: str, kinds: Sequence[str]
) -> tuple[float, float]:
    """Return the position of a training row: in the mean direction of its queries."""
    weight = row_effects.square()
    x, y = float((weight * angle.cos()).sum()), float((weight * angle.sin()).sum())
    return _point_at(_ring_radius(kind, kinds), math.atan2(y, x))


def _ring_radius(kind: str, kinds: Sequence[str]) -> float:
    return INNER - RING * list(dict.fromkeys(sorted(kinds))).index(kind)


def _render_dot(x: float, y: float, size: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"/>'


def _render_slice_names(angle: Tensor, slices: Sequence[str]) -> list[str]:
    """Return the slice names at the middle of their queries."""
    texts = []
    for name in dict.fromkeys(slices):
        angles = angle[torch.tensor([slice_name == name for slice_name in slices])]
        x, y = _point_at(OUTER + 22, float(angles.mean()))
        anchor = "start" if x > SIDE / 2 + 40 else "end" if x < SIDE / 2 - 40 else "middle"
        texts.append(f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{name}</text>')
    return texts


def _render_ring_names(kinds: Sequence[str]) -> list[str]:
    """Return the legend of the inner circles; empty if there is only one."""
    names = list(dict.fromkeys(sorted(kinds)))
    if len(names) < 2:
        return []
    return [f'<text x="16" y="24">inner circles, from outside: {", ".join(names)}</text>']
