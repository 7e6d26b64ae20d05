"""Panels for the terminal: summary of an audit, and effects by layer."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.audit.layers import LayerEffects
from tasks.results.diagnostics import format_loss
from tasks.results.group_names import format_group_value
from tasks.results.palette import TERMINAL_HARMFUL, TERMINAL_HELPFUL
from tasks.results.query_measure import name_harmed_queries
from tasks.results.summary import Summary
from tasks.results.summary_markdown import format_truncated_counts, make_worst_queries_table
from tasks.results.tree_evidence import read_tree_evidence
from tasks.study.command_lines import format_command
from tasks.terminal.examples import (
    format_example,
    format_text,
    make_two_column_table,
    render_explained_query,
)

EXPLAINED = 2
"""Number of worst queries with their texts; the others, often alike, take a line each."""


def render_summary(summary: Summary) -> RenderableType:
    """Render the summary of an audit."""
    return Group(
        *(render_explained_query(explained) for explained in summary.worst[:EXPLAINED]),
        *_further_queries_panel(summary),
        _most_harmful_panel(summary),
        _facts_panel(summary),
        *_warning_panels(summary),
    )


def render_layers(layers: LayerEffects) -> RenderableType:
    """Render the effects of the shown examples split by layer, one layer per row."""
    effects_by_sign = [
        [e for _, e in layers.rows if (sum(e) < 0) == harmful] for harmful in (True, False)
    ]
    table = Table(box=None, padding=(0, 1))
    table.add_column("layer")
    columns = (("harmful, summed", TERMINAL_HARMFUL), ("helpful, summed", TERMINAL_HELPFUL))
    for name, style in columns:
        table.add_column(name, justify="right", style=style)
    for position, name in enumerate(layers.names):
        sums = [
            sum(effects[position] for effects in effects_of_sign)
            for effects_of_sign in effects_by_sign
        ]
        table.add_row(Text(name), *(f"{total:+.4f}" for total in sums))
    table.add_section()
    table.add_row(
        "all", *(f"{sum(map(sum, effects_of_sign)):+.4f}" for effects_of_sign in effects_by_sign)
    )
    title = "effects of these examples by layer, nats"
    return Panel(table, title=title, title_align="left")


def _further_queries_panel(summary: Summary) -> Iterator[RenderableType]:
    """Render the other worst queries as a table; nothing if there are none."""
    rows = make_worst_queries_table(summary)[EXPLAINED:]
    if not rows:
        return
    table = Table(box=None, padding=(0, 1))
    for heading in ("query", "loss", "most harmful row", "effect"):
        table.add_column(heading, justify="right" if heading in ("loss", "effect") else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row.values()))
    title = "next highest losses: fastif top QUERY explains each"
    yield Panel(table, title=title, title_align="left")


def _most_harmful_panel(summary: Summary) -> RenderableType:
    table = make_two_column_table()
    for row in summary.most_harmful:
        queries = name_harmed_queries(summary.has_accuracy)
        count = f"{row['train_label']}, harms {row['harmful_queries']} {queries}"
        effect = Text(f"{row['harmful_effect']:+.4f}", style=TERMINAL_HARMFUL)
        table.add_row(
            effect, format_example(count, f"{row['train_id']}", format_text(row, "train_"))
        )
    rows = table if summary.most_harmful else Text("none", style="dim")
    queries = name_harmed_queries(summary.has_accuracy)
    unit = summary.measures.rpartition(" in ")[2] or "nats"
    title = f"most harmful to {queries}: summed effects, {unit}"
    return Panel(rows, title=title, title_align="left")


def _facts_panel(summary: Summary) -> RenderableType:
    facts = summary.facts
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("accuracy", summary.accuracy)
    table.add_row("explained", summary.measures)
    for slice_row in summary.slices:
        loss = format_loss(slice_row["loss"])
        share = f"{slice_row['accuracy']:.1%} of {slice_row['queries']}, mean loss {loss}"
        value: str | None = slice_row["slice"]  # type: ignore[assignment]
        table.add_row(Text(f"  {format_group_value(value)}"), share)
    table.add_row("training rows", f"{facts['train_rows']:,}")
    table.add_row("truncated", format_truncated_counts(facts))
    kind = "attributed" if read_tree_evidence(facts) is None else "leaf values"
    table.add_row("parameters", f"{facts['parameters']:,} {kind}")
    for name, text in summary.evidence:
        table.add_row(name, Text(text))
    table.add_row("time", f"{facts['seconds']:.0f} s")
    if summary.outcome:
        table.add_row("forecast", f"{summary.outcome}")
    return Panel(table, title=Text(f"run {summary.run}"), title_align="left")


def _warning_panels(summary: Summary) -> Iterator[RenderableType]:
    """Render the warnings in one panel; nothing without warnings."""
    lines = [Text(warning) for warning in summary.warnings]
    if lines:
        yield Panel(Group(*lines), title="warnings", title_align="left", style="bold red")


def list_next_commands(summary: Summary) -> Iterator[str]:
    """Yield the commands that show more of a finished run, ready to be pasted."""
    if summary.worst:
        worst = summary.worst[0]
        yield format_command("top", values=[worst.query["id"]], study=summary.study)
        rows = worst.harmful or worst.helpful
        if rows:
            yield format_command("show", values=[rows[0]["train_id"]], study=summary.study)
    yield format_command("report", study=summary.study)
    yield format_command("runs", study=summary.study)
