"""Panel for the terminal: comparison of two runs."""

from collections.abc import Iterator, Sequence

import polars as pl
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from storage.run_comparison import ENTERED, ENTERED_DOUBLED, LEFT, LEFT_HALVED
from tasks.results.changed_prediction import describe_predictions
from tasks.results.changed_query import ChangedQuery, QueryChanges, describe_rows, name_states
from tasks.results.compare_runs import SHOWN, RunDifference, SliceDifference, describe_entered
from tasks.results.group_names import ALL, format_group_value
from tasks.results.paired_accuracy import compare_paired_accuracy

PAIRED = ("queries", "before", "after", "95 % of change", "broken", "repaired", "p")
"""Heads of the paired comparison of accuracy; p by McNemar's exact test."""
MOVES = ("entered", "left")
MAX_SLICES = 20
"""Number of slices that are shown: a group of dates has hundreds."""
SHOWN_ROWS = 3
"""Number of changed training rows that are shown for a query."""
STYLES = {"numbers": "green", "order": "yellow", "nothing": "bold red"}


def render_difference(difference: RunDifference, before: str, after: str) -> RenderableType:
    """Render comparability, accuracy by slice, changed queries, and rows that entered or left.

    Args:
        difference: Comparison of two runs.
        before: Name of the earlier run.
        after: Name of the later run.
    """
    head = Text(f"{difference.comparability}\n", style=STYLES[difference.comparability.level])
    head.append(f"{difference.common_queries:,} queries are in both runs.", style="default")
    for note in difference.notes:
        head.append(f"\n{note}", style="dim")
    body: list[RenderableType] = [head]
    if difference.overall:
        body.append(_make_accuracy_table(difference, difference.overall))
    if difference.queries:
        body += _render_queries(difference.queries)
    if difference.predictions and difference.predictions.count:
        head_line, *lines = describe_predictions(difference.predictions)
        body += [Text(f"\n{head_line}", style="bold"), *map(Text, lines)]
    if difference.rows is not None and difference.overall:
        body.append(Text(f"\n{describe_entered(difference.overall, difference.k)}."))
        body += _make_source_tables(difference.rows)
        body += [_make_row_table(difference, changes) for changes in (ENTERED, LEFT)]
    title = Text(f"{before} → {after}")
    return Panel(Group(*body), title=title, title_align="left")


def _make_accuracy_table(difference: RunDifference, overall: SliceDifference) -> Table:
    """Table with the paired accuracies of each slice, and its rows that entered or left."""
    moves = MOVES if difference.rows is not None else ()
    title = "\naccuracy on the queries of both runs, p by McNemar's exact test"
    if moves:
        title += f"; training rows that entered or left the {difference.k:,} most harmful"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    heads = (*PAIRED, *moves)
    for name in (difference.group or "slice", *heads):
        table.add_column(Text(name), justify="right" if name in heads else "left")
    parts = _select_slices(difference.slices)
    named = [(ALL, overall), *((format_group_value(part.value), part) for part in parts)]
    for name, part in named:
        low, high, p = compare_paired_accuracy(part)
        cells = (
            f"{part.queries:,}", f"{part.before:.1%}", f"{part.after:.1%}",
            f"{100 * low:+.1f} to {100 * high:+.1f}", f"{part.broken:,}", f"{part.repaired:,}",
            f"{p:.2g}",
        )  # fmt: skip
        counts = [f"{count or 0:,}" for count in (part.entered, part.left)] if moves else []
        table.add_row(Text(name), *cells, *counts)
    if len(difference.slices) > MAX_SLICES:
        table.add_row(Text(f"and {len(difference.slices) - MAX_SLICES} smaller ones", style="dim"))
    return table


def _render_queries(queries: QueryChanges) -> Iterator[Text]:
    """Render the queries that were broken and repaired, with the changed rows behind each."""
    for note in queries.notes:
        yield Text(f"\n{note}", style="dim")
    lists = (("broken", queries.broken, queries.broken_count),
             ("repaired", queries.repaired, queries.repaired_count))  # fmt: skip
    for word, parts, count in lists:
        if parts:
            shown = f", the first {SHOWN}" if count > SHOWN else ""
            yield Text(f"\nqueries that were {word}: {count:,}{shown}", style="bold")
        for query in parts[:SHOWN]:
            yield from _describe_query(query, queries.changed_rows)


def _describe_query(query: ChangedQuery, changed_rows: int) -> Iterator[Text]:
    """Describe a query in one line, then each changed row, and what is not stored."""
    change = "" if query.loss_change is None else f", loss {query.loss_change:+.3f}"
    labels = f"{query.before or 'nothing'} → {query.after or 'nothing'}, true {query.label}"
    yield Text(f"{query.id}: {labels}{change}")
    rows = query.rows[:SHOWN_ROWS]
    for row, state in zip(rows, name_states(rows), strict=True):
        yield Text(f"    {row.loss_change:+.4f} {row.id} {row.label} ({state})")
    rest = describe_rows(query, changed_rows)
    if rest:
        yield Text(f"    {rest}", style="dim")


def _select_slices(slices: Sequence[SliceDifference]) -> list[SliceDifference]:
    """Select the slices with most queries, in the given order."""
    order = sorted(range(len(slices)), key=lambda i: -slices[i].queries)[:MAX_SLICES]
    return [slices[i] for i in sorted(order)]


def _make_source_tables(rows: pl.DataFrame) -> Iterator[Table]:
    """Tables of rows that entered and left by each group column of the training table."""
    for column in [name for name in rows.columns if name.startswith("group_")]:
        table = Table(box=None, padding=(0, 1))
        table.add_column(Text(f"training rows by {column.removeprefix('group_')}"))
        for move in MOVES:
            table.add_column(move, justify="right")
        counts = (
            rows.group_by(column)
            .agg(
                pl.col("change").is_in(changes).sum().alias(move)
                for move, changes in zip(MOVES, (ENTERED, LEFT), strict=True)
            )
            .sort(pl.sum_horizontal(MOVES), column, descending=[True, False])
        )
        for row in counts.head(SHOWN).iter_rows(named=True):
            table.add_row(Text(format_group_value(row[column])), *(f"{row[m]}" for m in MOVES))
        if not counts.is_empty():
            yield table


def _make_row_table(difference: RunDifference, changes: Sequence[str]) -> RenderableType:
    """Table of the rows that entered or left; without effects where sizes do not compare."""
    assert difference.rows is not None, "checked by the caller"
    rows = difference.rows.filter(pl.col("change").is_in(changes))
    move = "entered" if changes == ENTERED else "left"
    title = f"\n{len(rows):,} training rows {move} the {difference.k:,} most harmful"
    if rows.is_empty():
        return Text(title, style="dim")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    effects = ("effect before", "after") if difference.has_sizes else ()
    for name in (*effects, "training row", "label", ""):
        table.add_column(name, justify="right" if name in effects else "left")
    for row in rows.head(SHOWN).iter_rows(named=True):
        notes = ["removed" if n == "gone" else n for n in STATES if row[n]]
        if difference.has_sizes and row["change"] in STRONG:
            notes.append(STRONG[row["change"]])
        sums = [row["effect_before"], row["effect_after"]] if effects else []
        cells = (f"{value:+.4f}" if value else "-" for value in sums)
        table.add_row(*cells, Text(f"{row['id']}"), Text(f"{row['label']}"), ", ".join(notes))
    return table


STATES = ("new", "gone", "relabelled", "edited")
STRONG = {ENTERED_DOUBLED: "harm doubled", LEFT_HALVED: "harm halved"}
