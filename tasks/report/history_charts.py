"""Small charts of one number over runs, as SVG with the colours of the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import escape

from tasks.report.history import HistoryRun, Metric

WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 26
"""Margins around the points."""


@dataclass(frozen=True)
class Scale:
    """Vertical scale of a chart: the least and the largest number on it."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return the height of a number in the chart, from its upper edge."""
        share = (value - self.low) / (self.high - self.low)
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def render_chart(metric: Metric, runs: Sequence[HistoryRun], limit: float | None) -> str:
    """Render a number over the runs as SVG; empty if it was never measured.

    A line joins neighbouring runs that were both measured on the same basis; a mark is between
    those that were not. The limit is a dashed line.

    Args:
        metric: Number of the chart.
        runs: Runs, oldest first.
        limit: Limit of the study; None without one.
    """
    numbers = [run.numbers[metric.key] for run in runs]
    bounds = [(m.value, m.low, m.high) for m in numbers if m is not None]
    values = [value for each in bounds for value in each if value is not None]
    if not values:
        return ""
    scale = _make_scale([*values, *([] if limit is None else [limit])], metric)
    count = sum(number is not None for number in numbers)
    parts = [
        *_draw_axis(metric, runs, scale),
        *_draw_limit(metric, limit, scale),
        *_draw_breaks(metric, runs),
        *_draw_line(metric, runs, scale),
        *_draw_points(metric, runs, limit, scale),
    ]
    label = f"{metric.name} of {count} of {len(runs)} runs; the table has the numbers"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def format_value(metric: Metric, value: float) -> str:
    """Format a number of a metric on its axis."""
    return f"{100 * value:.3g} %" if metric.is_share else f"{value:.3g}"


def _make_scale(values: Sequence[float], metric: Metric) -> Scale:
    low, high = min(values), max(values)
    if not metric.is_share and all(isinstance(value, int) for value in values):
        return Scale(0, max(1, high))
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - pad, high + pad
    if metric.is_share:
        return Scale(max(0.0, low), min(1.0, high) if low < 1 else high)
    return Scale(max(0.0, low), high)


def _find_x(place: int, count: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * ((place + 0.5) / count)


def _draw_axis(metric: Metric, runs: Sequence[HistoryRun], scale: Scale) -> Iterator[str]:
    for value in (scale.low, scale.high):
        y = scale.place(value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="e">{format_value(metric, value)}</text>'
    yield f'<text x="{LEFT}" y="{HEIGHT - 6}">{escape(runs[0].opened[:10])}</text>'
    if len(runs) > 1:
        last = escape(runs[-1].opened[:10])
        yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" class="e">{last}</text>'


def _draw_limit(metric: Metric, limit: float | None, scale: Scale) -> Iterator[str]:
    if limit is not None:
        y = scale.place(limit)
        title = f"limit: {format_value(metric, limit)}"
        line = f'<path class="limit" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}">'
        yield f"{line}<title>{title}</title></path>"


def _draw_breaks(metric: Metric, runs: Sequence[HistoryRun]) -> Iterator[str]:
    """Draw a mark between neighbours whose numbers cannot be compared, with the reason."""
    for place in range(1, len(runs)):
        reason = runs[place].find_break(metric)
        if reason:
            x = (_find_x(place - 1, len(runs)) + _find_x(place, len(runs))) / 2
            line = f'<path class="gap" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}">'
            yield f"{line}<title>not comparable: {escape(reason)}</title></path>"


def _draw_line(metric: Metric, runs: Sequence[HistoryRun], scale: Scale) -> Iterator[str]:
    """Draw a segment between neighbours that were both measured, on the same basis."""
    for place in range(1, len(runs)):
        before, after = (runs[i].numbers[metric.key] for i in (place - 1, place))
        if before is None or after is None or runs[place].find_break(metric):
            continue
        ends = (
            f"{_find_x(i, len(runs)):.1f} {scale.place(number.value):.1f}"
            for i, number in ((place - 1, before), (place, after))
        )
        yield f'<path class="line" d="M{"L".join(ends)}"/>'


def _draw_points(
    metric: Metric, runs: Sequence[HistoryRun], limit: float | None, scale: Scale
) -> Iterator[str]:
    for place, run in enumerate(runs):
        number = run.numbers[metric.key]
        if number is None:
            continue
        x, y = _find_x(place, len(runs)), scale.place(number.value)
        if number.low is not None and number.high is not None:
            low, high = scale.place(number.low), scale.place(number.high)
            yield f'<path class="interval" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
        kind = "point broken" if is_beyond(metric, number.value, limit) else "point"
        title = escape(f"{run.run}: {number.text}")
        yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{title}</title>'
        yield "</circle>"


def is_beyond(metric: Metric, value: float, limit: float | None) -> bool:
    """Return whether a number is beyond its limit, its interval aside."""
    if limit is None:
        return False
    return value < limit if metric.key.endswith("_below") else value > limit
