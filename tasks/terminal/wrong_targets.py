"""Rendering of a search for wrong targets, for the terminal."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.study.errors import format_value as quote
from tasks.study.errors import join_some
from tasks.study.target_kind import MULTI_LABEL
from tasks.wrong_targets.cells import format_value
from tasks.wrong_targets.review_cells import LEAST_SCORE
from tasks.wrong_targets.stored_searches import TargetSearch

TEXT_CHARS = 60
"""Number of characters of a text that are shown."""
SCORE_NOTE = (
    "The score is the posterior of an error in a mixture; no probability: noise with heavy tails "
    "looks like errors. The strength is the residual in conditional standard deviations."
)
UNKNOWN_COUNT = (
    "How many targets are wrong is unknown: `fastif review export --random 100` and the import of "
    "its annotations count them."
)


def render_wrong_targets(search: TargetSearch, cells: pl.DataFrame, shown: int) -> RenderableType:
    """Render the most suspicious targets, and what was not searched.

    Args:
        search: Stored search.
        cells: Cells of the training rows, for their texts.
        shown: Maximum number of targets.
    """
    is_labels = search.facts["target"] == MULTI_LABEL
    table = search.table.with_columns(text=cells["text"]).filter(
        pl.col("reviewed").is_null() & pl.col("informed") & (pl.col("score") >= LEAST_SCORE)
    )
    heads = ("row", "probability") if is_labels else ("strength", "score")
    grid = Table("id", "label" if is_labels else "column", "given", "suggested", *heads, "text")
    for cell in table.sort("rank").head(shown).iter_rows(named=True):
        grid.add_row(*map(Text, _list_words(cell, is_labels)))
    notes = [Text(note) for note in describe_search(search)]
    if not grid.row_count:
        return Group(Text("No target is doubtful."), *notes)
    return Group(grid, *notes)


def _list_words(cell: dict[str, Any], is_labels: bool) -> Iterator[str]:
    yield cell["id"]
    yield cell["name"]
    yield _show(cell["given"])
    suggested = _show(cell["suggested"])
    yield suggested if is_labels else f"{suggested} ({_show(cell['low'])} to {_show(cell['high'])})"
    yield f"{cell['row_score']:.3f}" if is_labels else f"{cell['strength']:.1f}"
    yield f"{cell['score']:.3f}"
    text = " ".join(cell["text"].split())
    yield text if len(text) <= TEXT_CHARS else f"{text[: TEXT_CHARS - 1]}…"


def _show(value: float) -> str:
    return format_value(float(f"{value:.6g}"))


def describe_search(search: TargetSearch) -> Iterator[str]:
    """Yield sentences on a search: counts, labels that were not searched, and chance."""
    facts = search.facts
    reviewed = search.table["reviewed"].is_not_null().sum()
    if facts["target"] != MULTI_LABEL:
        yield SCORE_NOTE
    else:
        yield (
            "The probability is of the label; that in the column row, of one wrong label or more "
            "in the row, if errors of different labels are independent."
        )
    if reviewed:
        yield f"Reviewed targets: {reviewed:,}; they are evidence, and are not listed again."
    for name, (has, lacks) in facts.get("rare", {}).items():
        yield (
            f"Not searched: {quote(name)}, with {has} distinct rows that have it and {lacks} that "
            "have not; 5 of each are needed."
        )
    if facts["uninformed"]:
        names = join_some(map(quote, facts["uninformed"]), 20)
        yield f"Not listed, since the features predict them no better than chance: {names}."
    yield from describe_counts(facts)


def describe_counts(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the estimated number of wrong targets, of all and by label."""
    counts = facts["counts"]
    if counts is None:
        yield UNKNOWN_COUNT
        return
    for name, count in sorted(counts.items(), key=lambda item: item[0] != ""):
        about = "" if count["expected"] is None else f"about {count['expected']:,.0f}, "
        where = f" of {quote(name)}" if name else ""
        yield (
            f"Wrong targets{where}: {about}{count['low']:,.0f} to {count['high']:,.0f} with "
            f"90 % confidence, from {count['verdicts']} random verdicts."
        )
