"""Rendering of a search for wrong targets, for the terminal."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.study.target_kind import MULTI_LABEL
from tasks.wrong_targets.cells import format_value
from tasks.wrong_targets.search_notes import IS_DOUBTFUL, describe_search
from tasks.wrong_targets.stored_searches import TargetSearch

TEXT_CHARS = 60
"""Number of characters of a text that are shown."""


def has_doubtful(search: TargetSearch) -> bool:
    """Whether a search has unreviewed targets that are doubtful."""
    return not search.table.filter(IS_DOUBTFUL).is_empty()


def render_wrong_targets(search: TargetSearch, cells: pl.DataFrame, shown: int) -> RenderableType:
    """Render the most suspicious targets, and what was not searched.

    Args:
        search: Stored search.
        cells: Cells of the training rows, for their texts.
        shown: Maximum number of targets.
    """
    is_labels = search.facts["target"] == MULTI_LABEL
    table = search.table.with_columns(text=cells["text"]).filter(IS_DOUBTFUL)
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
