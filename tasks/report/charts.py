"""Figures of the report page as self-contained SVG that inherits the page's text colour."""

import re
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import vl_convert

from tasks.report.formatting import Row, escape_unprintable, make_short_names
from tasks.report.run_data import RunData
from tasks.report.tfidf_space import TfidfSpace

HARMFUL, HELPFUL, NEUTRAL = "#c2410c", "#0369a1", "#94a3b8"
"""Colours that colour-blind readers can distinguish, on light and dark backgrounds."""

MAX_QUERIES, MAX_ROWS, TIES_PER_SIGN, MAX_POINTS = 400, 240, 2, 1500
MAX_NAME_CHARS = 28
INK = "currentColor"
SIGN_SCALE = alt.Scale(domain=["harmful", "helpful"], range=[HARMFUL, HELPFUL])
RADIAL_AXIS: dict[str, Any] = {"axis": None, "scale": alt.Scale(domain=[-1.05, 1.05])}
"""Hidden axis of the influence map for both coordinates: its circles have radius 1 at most."""
ROLES = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')


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
    return re.sub(r"\b(clip|gradient)_?(\d+)\b", number_reference, plain)


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
            gridOpacity=0.15,
            labelLimit=180,
        )
        .configure_legend(labelColor=INK, titleColor=INK, labelLimit=200)
        .configure_title(color=INK)
        .configure_view(stroke=None)
    )


def render_effect_matrix(frame: pl.DataFrame, slice_name: str, source_name: str) -> str:
    """Heat map of summed effects: sources as rows, slices as columns."""
    if frame.is_empty():
        return ""
    largest = max(1e-12, float(frame["effect"].abs().max() or 0))  # type: ignore[arg-type]
    scale = alt.Scale(
        domain=[-largest, 0, largest], range=[HARMFUL, "#f1f5f9", HELPFUL], interpolate="rgb"
    )
    named = frame.with_columns(_shorten_names(frame["source"]), _shorten_names(frame["slice"]))
    base = alt.Chart(named).encode(
        x=alt.X("slice:N", title=f"{slice_name} of the queries", axis=alt.Axis(labelAngle=-35)),
        y=alt.Y("source:N", title=f"{source_name} of the training rows"),
    )
    boxes = base.mark_rect(stroke="#64748b", strokeWidth=0.3).encode(
        color=alt.Color("effect:Q", scale=scale, title="nats, summed")
    )
    is_dark = f"abs(datum.effect) > {0.6 * largest}"
    words = base.mark_text(fontSize=11).encode(
        text=alt.Text("effect:Q", format="+.3~g"),
        color=alt.condition(is_dark, alt.value("white"), alt.value("#0f172a")),
    )
    return render_svg("matrix", (boxes + words).properties(width=alt.Step(64), height=alt.Step(30)))


def render_correlations(frame: pl.DataFrame) -> str:
    """Heat map of the correlations between slices of the effects of training rows on them."""
    if frame.is_empty():
        return ""
    named = frame.with_columns(_shorten_names(frame["a"]), _shorten_names(frame["b"]))
    scale = alt.Scale(domain=[-1, 0, 1], range=[HARMFUL, "#f1f5f9", HELPFUL], interpolate="rgb")
    base = alt.Chart(named).encode(
        x=alt.X("a:N", title=None, axis=alt.Axis(labelAngle=-35)), y=alt.Y("b:N", title=None)
    )
    boxes = base.mark_rect(stroke="#64748b", strokeWidth=0.3).encode(
        color=alt.Color("correlation:Q", scale=scale)
    )
    words = base.mark_text(fontSize=11).encode(
        text=alt.Text("correlation:Q", format=".2f"),
        color=alt.condition(
            "abs(datum.correlation) > 0.6", alt.value("white"), alt.value("#0f172a")
        ),
    )
    return render_svg(
        "correlations", (boxes + words).properties(width=alt.Step(52), height=alt.Step(30))
    )


def render_influence_map(data: RunData) -> str:
    """Radial graph: training rows on an inner circle, queries on an outer one, strongest effects.

    Queries are ordered by slice and label. Training rows are ordered by the mean direction of their
    queries, which reduces crossings of lines.
    """
    queries = data.queries.sort(pl.col("loss"), descending=True, nulls_last=True).head(MAX_QUERIES)
    slices = dict.fromkeys(("label", data.slice_column))
    queries = queries.sort(*reversed(slices), "query").with_row_index("place")
    angle = 2 * np.pi * pl.col("place") / max(1, len(queries))
    outer = queries.select("query", "label", x=angle.cos(), y=angle.sin())
    scores = data.scores.join(outer.select("query"), on="query", how="semi").sort("query", "rank")
    extremes = [
        scores.group_by("query", maintain_order=True).head(TIES_PER_SIGN),
        scores.group_by("query", maintain_order=True).tail(TIES_PER_SIGN),
    ]
    ties = pl.concat(extremes).unique(["query", "train"], maintain_order=True)
    ties = ties.filter(pl.col("removal_effect") != 0).select("query", "train", "removal_effect")
    if ties.is_empty():
        return ""
    weight = pl.col("removal_effect").abs()
    strongest = (
        ties.group_by("train", maintain_order=True)
        .agg(all=weight.sum())
        .sort("all", "train")
        .tail(MAX_ROWS)
    )
    edges = ties.join(outer, on="query").join(strongest, on="train", how="semi")
    mean = edges.group_by("train", maintain_order=True).agg(
        x=(pl.col("x") * weight).sum(),
        y=(pl.col("y") * weight).sum(),
        effect=pl.col("removal_effect").sum(),
        ties=pl.len(),
    )
    mean = mean.sort(pl.arctan2("y", "x"), "train").with_row_index("place")
    angle = 2 * np.pi * pl.col("place") / len(mean) - np.pi
    inner = mean.select("train", "effect", "ties", x2=0.58 * angle.cos(), y2=0.58 * angle.sin())
    lines = edges.join(inner.select("train", "x2", "y2"), on="train").sort(weight)
    return render_svg("influence_map", _make_radial_chart(lines, outer, inner))


def _make_radial_chart(
    lines: pl.DataFrame, outer: pl.DataFrame, inner: pl.DataFrame
) -> alt.TopLevelMixin:
    layers = _draw_edges(lines) + _draw_queries(outer) + _draw_rows(inner)
    return layers.properties(width=620, height=620)


def _draw_edges(lines: pl.DataFrame) -> alt.Chart:
    largest = float(lines["removal_effect"].abs().quantile(0.98) or 1.0)
    segments = lines.select(
        "x",
        "y",
        "x2",
        "y2",
        size=(pl.col("removal_effect").abs() / largest).clip(0, 1).round(3),
        effect=_label_sign("removal_effect"),
    ).with_columns(pl.col("x", "y", "x2", "y2").round(4))
    return (
        alt.Chart(segments)
        .mark_rule()
        .encode(
            x=alt.X("x:Q", **RADIAL_AXIS),
            y=alt.Y("y:Q", **RADIAL_AXIS),
            x2="x2:Q",
            y2="y2:Q",
            color=alt.Color("effect:N", scale=SIGN_SCALE, title="training row is"),
            strokeWidth=alt.StrokeWidth("size:Q", scale=alt.Scale(range=[0.3, 2.4]), legend=None),
            opacity=alt.Opacity("size:Q", scale=alt.Scale(range=[0.15, 0.75]), legend=None),
        )
    )


def _draw_queries(outer: pl.DataFrame) -> alt.Chart:
    return (
        alt.Chart(outer.select("x", "y", "label"))
        .mark_point(size=22, filled=True)
        .encode(
            x=alt.X("x:Q", **RADIAL_AXIS),
            y=alt.Y("y:Q", **RADIAL_AXIS),
            shape=alt.Shape("label:N", title="queries, by label"),
            color=alt.value("#64748b"),
        )
    )


def _draw_rows(inner: pl.DataFrame) -> alt.Chart:
    return (
        alt.Chart(inner.select("x2", "y2", "ties", effect=_label_sign("effect")))
        .mark_circle(stroke=INK, strokeWidth=0.3)
        .encode(
            x=alt.X("x2:Q", **RADIAL_AXIS),
            y=alt.Y("y2:Q", **RADIAL_AXIS),
            size=alt.Size("ties:Q", scale=alt.Scale(range=[10, 140]), title="queries of a row"),
            color=alt.Color("effect:N", scale=SIGN_SCALE),
        )
    )


def _label_sign(column: str) -> pl.Expr:
    harmful = pl.col(column) < 0
    return pl.when(harmful).then(pl.lit("harmful")).otherwise(pl.lit("helpful"))


def render_space_map(data: RunData, space: TfidfSpace) -> str:
    """Scatter plot of training rows (PCA of their tf-idf vectors), coloured by summed effect.

    A regular sample of the rows is plotted, and always the most harmful ones.
    """
    harm = data.harm.with_columns(
        x=pl.Series(space.projection[:, 0].numpy()), y=pl.Series(space.projection[:, 1].numpy())
    )
    evenly_spaced = harm.gather_every(max(1, len(harm) // MAX_POINTS))
    by_harm = harm.sort("harm", "train", descending=[True, False])
    worst = by_harm.head(MAX_POINTS // 5)
    points = (
        pl.concat([evenly_spaced, worst])
        .unique("train", maintain_order=True)
        .sort("effect", descending=True)
    )
    largest = float(points["effect"].abs().quantile(0.95) or 0) or 1.0
    scale = alt.Scale(
        domain=[-largest, 0, largest],
        range=[HARMFUL, "#cbd5e1", HELPFUL],
        clamp=True,
        interpolate="rgb",
    )
    chart = alt.Chart(points.select(pl.col("x", "y").round(4), pl.col("effect"))).mark_circle(
        size=20, opacity=0.8
    )
    plain = {"axis": None, "scale": alt.Scale(zero=False)}
    return render_svg(
        "space_map",
        chart.encode(
            x=alt.X("x:Q", **plain),
            y=alt.Y("y:Q", **plain),
            color=alt.Color("effect:Q", scale=scale, title="nats, summed"),
        ).properties(width=560, height=420),
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
                scale=alt.Scale(domain=["forecast", "measured"], range=[NEUTRAL, HELPFUL]),
            ),
        )
    )
    return render_svg(
        "costs", chart.properties(width=480, height=alt.Step(14, **{"for": "position"}))
    )


def _shorten_names(values: pl.Series) -> pl.Series:
    names = make_short_names(values.to_list(), MAX_NAME_CHARS)
    return pl.Series(values.name, [names[value] for value in values], pl.String)
