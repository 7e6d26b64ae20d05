"""Pictures of a page, as SVG that asks for nothing and takes the page's own ink."""

import re
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import vl_convert

from tasks.report.formatting import Row, legible, names_for
from tasks.report.run_data import Night
from tasks.report.tfidf_space import Space

HARMFUL, HELPFUL, NEUTRAL = "#c2410c", "#0369a1", "#94a3b8"
"""Told apart by people who see no red or green, on light and on dark."""

QUERIES, ROWS, EACH, POINTS = 400, 240, 2, 1500
LONGEST = 28
INK = "currentColor"
ROLES = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')


def svg(name: str, chart: alt.TopLevelMixin) -> str:
    """A chart as SVG without fixed ink, with names of its own for what it refers to."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    drawn = vl_convert.vegalite_to_svg(_legible(_themed(chart).to_dict()), vl_version=version)
    seen: dict[str, int] = {}  # what counts them counts on from chart to chart

    def named(found: re.Match[str]) -> str:
        return f"{found[1]}-{name}-{seen.setdefault(found[2], len(seen))}"

    plain = ROLES.sub("", drawn)  # the figure around it has a role and a name
    return re.sub(r"\b(clip|gradient)_?(\d+)\b", named, plain)


def _legible(part: Any) -> Any:
    """A chart's description with every text legible: the renderer ends the process at others."""
    if isinstance(part, str):
        return legible(part)
    if isinstance(part, dict):
        return {_legible(key): _legible(value) for key, value in part.items()}
    return [_legible(value) for value in part] if isinstance(part, list) else part


def _themed(chart):
    return (
        chart.configure(background="transparent", font="sans-serif", padding=12, aria=False)
        .configure_axis(labelColor=INK, titleColor=INK, domainColor=INK, tickColor=INK,
                        gridOpacity=0.15, labelLimit=180)
        .configure_legend(labelColor=INK, titleColor=INK, labelLimit=200)
        .configure_title(color=INK)
        .configure_view(stroke=None)
    )  # fmt: skip


def matrix(frame: pl.DataFrame, slice_name: str, source_name: str) -> str:
    """Summed effects, sources down and slices across."""
    if frame.is_empty():
        return ""
    most = max(1e-12, float(frame["effect"].abs().max() or 0))  # type: ignore[arg-type]
    scale = alt.Scale(
        domain=[-most, 0, most], range=[HARMFUL, "#f1f5f9", HELPFUL], interpolate="rgb"
    )
    told = frame.with_columns(_named(frame["source"]), _named(frame["slice"]))
    base = alt.Chart(told).encode(
        x=alt.X("slice:N", title=f"{slice_name} of the queries", axis=alt.Axis(labelAngle=-35)),
        y=alt.Y("source:N", title=f"{source_name} of the training rows"),
    )
    boxes = base.mark_rect(stroke="#64748b", strokeWidth=0.3).encode(
        color=alt.Color("effect:Q", scale=scale, title="nats, summed")
    )
    deep = f"abs(datum.effect) > {0.6 * most}"
    words = base.mark_text(fontSize=11).encode(
        text=alt.Text("effect:Q", format="+.3~g"),
        color=alt.condition(deep, alt.value("white"), alt.value("#0f172a")),
    )
    return svg("matrix", (boxes + words).properties(width=alt.Step(64), height=alt.Step(30)))


def correlations(frame: pl.DataFrame) -> str:
    """How alike two slices are in what harms and helps them."""
    if frame.is_empty():
        return ""
    told = frame.with_columns(_named(frame["a"]), _named(frame["b"]))
    scale = alt.Scale(domain=[-1, 0, 1], range=[HARMFUL, "#f1f5f9", HELPFUL], interpolate="rgb")
    base = alt.Chart(told).encode(
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
    return svg("correlations", (boxes + words).properties(width=alt.Step(52), height=alt.Step(30)))


def influence_map(night: Night) -> str:
    """Training rows on an inner circle, queries on an outer one, their strongest ties between.

    Queries stand by slice and label; each training row as near to its queries as there is room, so
    that lines cross little.
    """
    asked = night.queries.sort(pl.col("loss"), descending=True, nulls_last=True).head(QUERIES)
    slices = dict.fromkeys(("label", night.slice))
    asked = asked.sort(*reversed(slices), "query").with_row_index("place")
    angle = 2 * np.pi * pl.col("place") / max(1, len(asked))
    outer = asked.select("query", "label", x=angle.cos(), y=angle.sin())
    told = night.scores.join(outer.select("query"), on="query", how="semi").sort("query", "rank")
    ends = [told.group_by("query", maintain_order=True).head(EACH),
            told.group_by("query", maintain_order=True).tail(EACH)]  # fmt: skip
    ties = pl.concat(ends).unique(["query", "train"], maintain_order=True)
    ties = ties.filter(pl.col("removal_effect") != 0).select("query", "train", "removal_effect")
    if ties.is_empty():
        return ""
    weight = pl.col("removal_effect").abs()
    strongest = (
        ties.group_by("train", maintain_order=True)
        .agg(all=weight.sum())
        .sort("all", "train")
        .tail(ROWS)
    )
    edges = ties.join(outer, on="query").join(strongest, on="train", how="semi")
    mean = edges.group_by("train", maintain_order=True).agg(
        x=(pl.col("x") * weight).sum(), y=(pl.col("y") * weight).sum(),
        effect=pl.col("removal_effect").sum(), ties=pl.len(),
    )  # fmt: skip
    mean = mean.sort(pl.arctan2("y", "x"), "train").with_row_index("place")
    angle = 2 * np.pi * pl.col("place") / len(mean) - np.pi
    inner = mean.select("train", "effect", "ties", x2=0.58 * angle.cos(), y2=0.58 * angle.sin())
    lines = edges.join(inner.select("train", "x2", "y2"), on="train").sort(weight)
    return svg("influence_map", _circles(lines, outer, inner))


def _circles(lines: pl.DataFrame, outer: pl.DataFrame, inner: pl.DataFrame) -> alt.TopLevelMixin:
    bare = {"axis": None, "scale": alt.Scale(domain=[-1.05, 1.05])}
    most = float(lines["removal_effect"].abs().quantile(0.98) or 1.0)
    told = lines.select(
        "x", "y", "x2", "y2",
        size=(pl.col("removal_effect").abs() / most).clip(0, 1).round(3),
        effect=_side("removal_effect"),
    ).with_columns(pl.col("x", "y", "x2", "y2").round(4))  # fmt: skip
    sides = alt.Scale(domain=["harmful", "helpful"], range=[HARMFUL, HELPFUL])
    edges = alt.Chart(told).mark_rule().encode(
        x=alt.X("x:Q", **bare), y=alt.Y("y:Q", **bare), x2="x2:Q", y2="y2:Q",
        color=alt.Color("effect:N", scale=sides, title="the row is"),
        strokeWidth=alt.StrokeWidth("size:Q", scale=alt.Scale(range=[0.3, 2.4]), legend=None),
        opacity=alt.Opacity("size:Q", scale=alt.Scale(range=[0.15, 0.75]), legend=None),
    )  # fmt: skip
    asked = alt.Chart(outer.select("x", "y", "label")).mark_point(size=22, filled=True).encode(
        x=alt.X("x:Q", **bare), y=alt.Y("y:Q", **bare),
        shape=alt.Shape("label:N", title="queries, by label"), color=alt.value("#64748b"),
    )  # fmt: skip
    rows = alt.Chart(inner.select("x2", "y2", "ties", effect=_side("effect"))).mark_circle(
        stroke=INK, strokeWidth=0.3
    ).encode(
        x=alt.X("x2:Q", **bare), y=alt.Y("y2:Q", **bare),
        size=alt.Size("ties:Q", scale=alt.Scale(range=[10, 140]), title="ties of a row"),
        color=alt.Color("effect:N", scale=sides),
    )  # fmt: skip
    return (edges + asked + rows).properties(width=620, height=620)


def _side(column: str) -> pl.Expr:
    harmful = pl.col(column) < 0
    return pl.when(harmful).then(pl.lit("harmful")).otherwise(pl.lit("helpful"))


def space_map(night: Night, space: Space) -> str:
    """Training rows from above, coloured by their summed effect; the most harmful always shown."""
    harm = night.harm.with_columns(
        x=pl.Series(space.flat[:, 0].numpy()), y=pl.Series(space.flat[:, 1].numpy())
    )
    every = harm.gather_every(max(1, len(harm) // POINTS))
    worst = harm.sort("harm", "train").head(POINTS // 5)
    told = (
        pl.concat([every, worst])
        .unique("train", maintain_order=True)
        .sort("effect", descending=True)
    )
    most = float(told["effect"].abs().quantile(0.95) or 0) or 1.0
    scale = alt.Scale(domain=[-most, 0, most], range=[HARMFUL, "#cbd5e1", HELPFUL], clamp=True,
                      interpolate="rgb")  # fmt: skip
    chart = alt.Chart(told.select(pl.col("x", "y").round(4), pl.col("effect"))).mark_circle(
        size=20, opacity=0.8
    )
    bare = {"axis": None, "scale": alt.Scale(zero=False)}
    return svg(
        "space_map",
        chart.encode(
            x=alt.X("x:Q", **bare), y=alt.Y("y:Q", **bare),
            color=alt.Color("effect:Q", scale=scale, title="nats, summed"),
        ).properties(width=560, height=420)
    )  # fmt: skip


def costs(rows: list[Row]) -> str:
    """Seconds of each stage, forecast and measured."""
    if not rows:
        return ""
    frame = pl.DataFrame(rows).unpivot(index="stage", variable_name="what", value_name="seconds")
    order = [str(row["stage"]) for row in rows]
    chart = alt.Chart(frame).mark_bar().encode(
        x=alt.X("seconds:Q", title="seconds"),
        y=alt.Y("stage:N", sort=order, title=None),
        yOffset=alt.YOffset("what:N", sort=["forecast", "measured"]),
        color=alt.Color("what:N", title=None,
                        scale=alt.Scale(domain=["forecast", "measured"], range=[NEUTRAL, HELPFUL])),
    )  # fmt: skip
    return svg("costs", chart.properties(width=480, height=alt.Step(14, **{"for": "position"})))


def _named(values: pl.Series) -> pl.Series:
    names = names_for(values.to_list(), LONGEST)
    return pl.Series(values.name, [names[value] for value in values], pl.String)
