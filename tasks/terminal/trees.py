"""Rendering of effects on boosted trees."""

from math import isnan

import polars as pl
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.trees.tree_effects import TreeEffects


def render_tree_effects(effects: TreeEffects, shown: int) -> RenderableType:
    """Render what was checked, and the most harmful and helpful rows of the worst queries.

    Args:
        effects: Effects of all queries.
        shown: Number of queries to show, those of the largest loss first.
    """
    lines = [f"{len(effects.queries):,} queries; mean loss {effects.queries['loss'].mean():.4g}."]
    if not isnan(effects.deviation):
        lines.append(
            f"Leaf values repeated from the training rows: largest difference "
            f"{effects.deviation:.1e} of the largest value."
        )
    if effects.difference is not None:
        lines.append(
            f"Scores against the library's own: largest difference {effects.difference:.1e}."
        )
    else:
        lines.append("Scores were not compared with the library's own, which could not be asked.")
    lines += effects.notes
    return Group(
        Panel(Text("\n".join(lines)), title="trees", title_align="left"),
        _make_query_table(effects, shown),
    )


def _make_query_table(effects: TreeEffects, shown: int) -> RenderableType:
    table = Table(box=None, padding=(0, 1))
    for name in ("query", "loss", "most harmful row", "effect", "most helpful row", "effect"):
        table.add_column(name, justify="right" if name in ("loss", "effect") else "left")
    for query, loss in (
        effects.queries.sort("loss", descending=True).head(shown).select("query", "loss").rows()
    ):
        own = effects.effects.filter(pl.col("query") == query).sort("removal_effect")
        (low, least), (high, most) = (
            own.row(place, named=False)[1:] for place in (0, len(own) - 1)
        )
        cells = (f"{loss:.4g}", Text(low), f"{least:+.3g}", Text(high), f"{most:+.3g}")
        table.add_row(Text(query), *cells)
    return Panel(table, title="queries with the largest loss", title_align="left")
