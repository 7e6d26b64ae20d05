"""Charts of the page have the colours of its variables, by sign and size of the effect."""

import re

import polars as pl
import pytest

from tasks.report.charts import (
    MAX_OPACITY,
    render_correlations,
    render_effect_matrix,
    render_stage_seconds,
    use_variables,
)

EFFECTS = {("a", "x"): -2.0, ("a", "y"): 1.0, ("b", "x"): 0.0, ("b", "y"): 2.0}
CELL = re.compile(r'<path[^>]* fill="var\(--(\w+)\)" fill-opacity="([\d.]+)"')


def render_matrix():
    rows = [{"source": s, "slice": c, "effect": e, "pairs": 1} for (s, c), e in EFFECTS.items()]
    return render_effect_matrix(pl.DataFrame(rows), "slice", "source")


def test_no_chart_has_a_colour_of_its_own():
    pairs = {
        "a": ["x", "x", "y", "y"],
        "b": ["x", "y", "x", "y"],
        "correlation": [1.0, -1.0, -1.0, 1.0],
    }
    stages = [{"stage": "shards", "forecast": 2.0, "measured": 3.0}]
    for rendered in (
        render_matrix(),
        render_correlations(pl.DataFrame(pairs)),
        render_stage_seconds(stages),
    ):
        colours = set(re.findall(r'(?:fill|stroke|stop-color)="([^"]+)"', rendered))
        assert any(colour.startswith("var(--") for colour in colours)
        for colour in colours:
            assert re.fullmatch(r"var\(--[\w-]+\)|url\(#.+\)|currentColor|none|transparent", colour)


def test_cells_are_orange_or_blue_by_sign_and_opaque_by_size():
    cells = sorted((name, float(opacity)) for name, opacity in CELL.findall(render_matrix()))
    expected = sorted(
        ("harmful" if effect < 0 else "helpful", abs(effect) / 2 * MAX_OPACITY)
        for effect in EFFECTS.values()
    )
    assert [name for name, _ in cells] == [name for name, _ in expected]
    for (_, opacity), (_, wanted) in zip(cells, expected, strict=True):
        assert opacity == pytest.approx(wanted, abs=0.01)


def test_words_that_read_like_colours_stay():
    words = '<text>fill="#c2410c" fill="rgb(255, 0, 0)"</text>'
    assert use_variables(words) == words
