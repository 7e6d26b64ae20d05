"""Figures of the report page as self-contained SVG in the colours of the page's variables."""

import re
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from tasks.report.formatting import Row, escape_unprintable, make_short_names
from tasks.results.palette import COLOURS, HARMFUL, HELPFUL, NEUTRAL, STRONG

MAX_NAME_CHARS = 28
INK = "currentColor"
ROLES = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')
SCALE = ["#ff0000", "#000000", "#0000ff"]
"""Range of a scale from harmful to helpful, whose shares of red and blue become opacities."""
SCALE_COLOUR = re.compile(r'(fill|stop)(-color)?="rgb\((\d+), ?0, ?(\d+)\)"')
TAG = re.compile(r"<[^<>]+>")
STAGE_SCALE = alt.Scale(domain=["forecast", "measured"], range=[NEUTRAL.light, STRONG.light])
MAX_OPACITY = 0.45
"""Opacity of the largest effect, at which text on it is legible in both colour schemes."""


def render_svg(name: str, chart: alt.TopLevelMixin) -> str:
    """Render a chart as SVG without a fixed text colour, its internal ids made unique by `name`."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    rendered = vl_convert.vegalite_to_svg(
        _escape_all(_apply_theme(chart).to_dict()), vl_version=version
    )
    numbers: dict[str, int] = {}  # the renderer's own counter continues from chart to chart

    def number_reference(match: re.Match[str]) -> str:
        return f"{match[1]}-{name}-{numbers.setdefault(match[2], len(numbers))}"

    plain = ROLES.sub("", rendered)  # the surrounding figure has its own role and label
    return use_variables(re.sub(r"\b(clip|gradient)_?(\d+)\b", number_reference, plain))


def use_variables(rendered: str) -> str:
    """Replace the colours of the palette in SVG by CSS variables, and those of `SCALE` by opacity.

    Examples:
        >>> use_variables('<path fill="#c2410c"/><path fill="rgb(0, 0, 255)"/>')
        '<path fill="var(--harmful)"/><path fill="var(--helpful)" fill-opacity="0.45"/>'
    """
    return TAG.sub(_use_variables_in_tag, rendered)


def _use_variables_in_tag(match: re.Match[str]) -> str:
    tag = match[0]
    for colour in COLOURS:
        tag = tag.replace(f'="{colour.light}"', f'="{colour.variable}"')
    return SCALE_COLOUR.sub(_mix_scale_colour, tag)


def _mix_scale_colour(match: re.Match[str]) -> str:
    part, suffix, red, blue = match[1], match[2] or "", int(match[3]), int(match[4])
    variable = (HARMFUL if red > blue else HELPFUL).variable
    opacity = max(red, blue) / 255 * MAX_OPACITY
    return f'{part}{suffix}="{variable}" {part}-opacity="{opacity:.2f}"'


def _escape_all(node: Any) -> Any:
    """Escape unprintable characters in a chart's description, which would abort the renderer."""
    if isinstance(node, str):
        return escape_unprintable(node)
    if isinstance(node, dict):
        return {_escape_all(key): _escape_all(value) for key, value in node.items()}
    return [_escape_all(value) for value in node] if isinstance(node, list) else node


def _apply_theme(chart):
    return (
        chart.configure(background="transparent", font="sans-serif", padding=12, aria=False)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            domainColor=INK,
            tickColor=INK,
            gridColor=INK,
            gridOpacity=0.15,
            labelLimit=180,
        )
        .configure_legend(labelColor=INK, titleColor=INK, labelLimit=200, gradientStrokeColor=INK)
        .configure_title(color=INK)
        .configure_view(stroke=None)
    )


def render_effect_matrix(frame: pl.DataFrame, slice_name: str, source_name: str) -> str:
    """Heat map of summed effects: sources as rows, slices as columns."""
    if frame.is_empty():
        return ""
    largest = max(1e-12, float(frame["effect"].abs().max() or 0))  # type: ignore[arg-type]
    scale = alt.Scale(domain=[-largest, 0, largest], range=SCALE, interpolate="rgb")
    named = frame.with_columns(_shorten_names(frame["source"]), _shorten_names(frame["slice"]))
    base = alt.Chart(named).encode(
        x=alt.X("slice:N", title=f"{slice_name} of the queries", axis=alt.Axis(labelAngle=-35)),
        y=alt.Y("source:N", title=f"{source_name} of the training rows"),
    )
    boxes = base.mark_rect(stroke=NEUTRAL.light, strokeWidth=0.3).encode(
        color=alt.Color("effect:Q", scale=scale, title="nats, summed")
    )
    words = base.mark_text(fontSize=11).encode(
        text=alt.Text("effect:Q", format="+.3~g"),
        color=alt.value(INK),
    )
    return render_svg("matrix", (boxes + words).properties(width=alt.Step(64), height=alt.Step(30)))


def render_correlations(frame: pl.DataFrame) -> str:
    """Heat map of the correlations between slices of the effects of training rows on them."""
    if frame.is_empty():
        return ""
    named = frame.with_columns(_shorten_names(frame["a"]), _shorten_names(frame["b"]))
    scale = alt.Scale(domain=[-1, 0, 1], range=SCALE, interpolate="rgb")
    base = alt.Chart(named).encode(
        x=alt.X("a:N", title=None, axis=alt.Axis(labelAngle=-35)), y=alt.Y("b:N", title=None)
    )
    boxes = base.mark_rect(stroke=NEUTRAL.light, strokeWidth=0.3).encode(
        color=alt.Color("correlation:Q", scale=scale)
    )
    words = base.mark_text(fontSize=11).encode(
        text=alt.Text("correlation:Q", format=".2f"),
        color=alt.value(INK),
    )
    return render_svg(
        "correlations", (boxes + words).properties(width=alt.Step(52), height=alt.Step(30))
    )


def render_stage_seconds(rows: list[Row]) -> str:
    """Bar chart of the seconds of each stage, forecast and measured."""
    if not rows:
        return ""
    frame = pl.DataFrame(rows).unpivot(index="stage", variable_name="what", value_name="seconds")
    order = [str(row["stage"]) for row in rows]
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("seconds:Q", title="seconds"),
            y=alt.Y("stage:N", sort=order, title=None),
            yOffset=alt.YOffset("what:N", sort=["forecast", "measured"]),
            color=alt.Color(
                "what:N",
                title=None,
                scale=alt.Scale(
                    domain=["forecast", "measured"], range=[NEUTRAL.light, HELPFUL.light]
                ),
            ),
        )
    )
    return render_svg(
        "costs", chart.properties(width=480, height=alt.Step(14, **{"for": "position"}))
    )


def _shorten_names(values: pl.Series) -> pl.Series:
    names = make_short_names(values.to_list(), MAX_NAME_CHARS)
    return pl.Series(values.name, [names[value] for value in values], pl.String)
