"""Plots of experiments as SVG on a white background."""

from collections.abc import Sequence

import altair as alt
import polars as pl
import vl_convert

from tasks.results.palette import CATEGORY_RANGE, HARMFUL, HELPFUL, NEUTRAL

SIGN_SCALE = alt.Scale(
    domain=["harmful", "helpful", "random"], range=[HARMFUL.light, HELPFUL.light, NEUTRAL.light]
)
"""Colours of harmful, helpful and random training rows."""
SIDE, PIXEL = 28, 3


def chart_to_svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG."""
    themed = chart.configure(background="white", font="sans-serif", padding=12)  # type: ignore[attr-defined]
    themed = themed.configure_view(stroke=None).configure_axis(gridOpacity=0.3)
    themed = themed.configure_range(category=list(CATEGORY_RANGE))
    themed = themed.configure_mark(color=CATEGORY_RANGE[0])
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return vl_convert.vegalite_to_svg(themed.to_json(), vl_version=version)


def plot_scatter(
    predicted: Sequence[float], measured: Sequence[float], x: str, y: str, title: str = ""
) -> alt.TopLevelMixin:
    """Return a scatter plot of predicted and measured changes, with the identity line."""
    points = pl.DataFrame({"x": list(predicted), "y": list(measured)})
    limits = [min(*predicted, *measured), max(*predicted, *measured)]
    line = alt.Chart(pl.DataFrame({"x": limits, "y": limits})).mark_line(
        color=NEUTRAL.light, strokeDash=[4, 3]
    )
    dots = alt.Chart(points).mark_circle(size=40, opacity=0.6)
    axes = {"x": alt.X("x", title=x), "y": alt.Y("y", title=y)}
    return alt.layer(line.encode(**axes), dots.encode(**axes)).properties(
        width=280, height=240, title=title
    )


def render_digits(images: Sequence[Sequence[float]], titles: Sequence[str], columns: int) -> str:
    """Return 28 x 28 images with pixels from 0 to 1 under titles; no title leaves a gap."""
    step, down = SIDE * PIXEL + 16, SIDE * PIXEL + 34
    rows = -(-len(images) // columns)
    elements = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * step}" '
        f'height="{rows * down}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for position, (image, title) in enumerate(zip(images, titles, strict=True)):
        if not title:
            continue
        left, top = position % columns * step + 8, position // columns * down + 20
        elements.append(f'<text x="{left}" y="{top - 6}">{title}</text>')
        size = SIDE * PIXEL
        elements.append(
            f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="#f1f5f9"/>'
        )
        for pixel, value in enumerate(image):
            if value > 0.05:
                x, y = left + pixel % SIDE * PIXEL, top + pixel // SIDE * PIXEL
                elements.append(
                    f'<rect x="{x}" y="{y}" width="{PIXEL}" height="{PIXEL}" fill="#111827" '
                    f'fill-opacity="{value:.2f}"/>'
                )
    return "\n".join([*elements, "</svg>"]) + "\n"
