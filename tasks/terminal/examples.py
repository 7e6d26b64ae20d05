"""Panels for the terminal: one query and one training example with their effects."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.results.diagnostics import format_loss
from tasks.results.evidence import Row
from tasks.results.explained_query import (
    RANKING_LEGEND,
    ExplainedQuery,
    format_ranking_score,
    has_ranking_scores,
)
from tasks.results.palette import TERMINAL_HARMFUL, TERMINAL_HELPFUL
from tasks.results.query_measure import format_measure, format_prediction, get_words, join_units

NOT_TRAINED = "  not in the training set: minus the effect is the effect of adding it"


def render_explained_query(explained: ExplainedQuery) -> RenderableType:
    """Render a query with its most harmful and most helpful training examples."""
    query = explained.query
    label, follows = format_prediction(query)
    style = "bold red" if query["correct"] is False else ""
    head = Text.assemble(
        (label, "bold green"),
        (follows, style),
        f"   {format_measure(query)}\n",
        format_text(query, ""),
    )
    if query["reason"]:
        reason = Text(f"\nquarantined, without scores. {query['reason']}", style="bold red")
        return _query_panel(query, Group(head, reason))
    harmful = _render_effects(explained.harmful, TERMINAL_HARMFUL)
    helpful = _render_effects(explained.helpful, TERMINAL_HELPFUL)
    words = get_words(query)
    body = Group(
        head,
        Text(f"\nharmful: without this row {words.harmful}", style=f"{TERMINAL_HARMFUL} italic"),
        harmful,
        Text(f"helpful: without this row {words.helpful}", style=f"{TERMINAL_HELPFUL} italic"),
        helpful,
        *_render_ranking_legend(explained.has_ranking_scores),
    )
    return _query_panel(query, body)


def render_trace(row: Row, affected: list[Row]) -> RenderableType:
    """Render a training example with the queries that it affects most."""
    head = Text.assemble(
        (f"{row['label']}", "bold"),
        f"   loss {format_loss(row['loss'])} "
        f"nats{NOT_TRAINED if row['trained'] is False else ''}\n",
        format_text(row, ""),
        "\n",
    )
    table = make_two_column_table()
    for query in affected:
        effect, score = float(str(query["removal_effect"])), format_ranking_score(query)
        given = "" if query["query_label"] is None else f"{query['query_label']}, "
        label = f"{given}predicted {query['query_prediction'] or 'nothing'}"
        table.add_row(
            Text(
                f"{effect:+.4f}\n{score}".rstrip(),
                style=TERMINAL_HARMFUL if effect < 0 else TERMINAL_HELPFUL,
            ),
            format_example(label, f"{query['query_id']}", format_text(query, "query_")),
        )
    rows = table if affected else Text("not a candidate of any query", style="dim")
    note = Text(
        f"removal effects in {join_units(affected)}: below 0 the row harms the query, above 0 it "
        "helps",
        style="dim",
    )
    legend = _render_ranking_legend(has_ranking_scores(affected))
    return Panel(
        Group(head, rows, note, *legend), title=Text(f"train {row['id']}"), title_align="left"
    )


def _query_panel(query: Row, body: Group) -> RenderableType:
    return Panel(body, title=Text(f"query {query['id']}"), title_align="left")


def _render_effects(rows: list[Row], style: str) -> RenderableType:
    """Render one training example per row: effect on the left, label, id and text on the right."""
    if not rows:
        return Text("  none among the candidates", style="dim")
    table = make_two_column_table()
    for row in rows:
        name = f"{row['train_id']}{NOT_TRAINED if row['train_trained'] is False else ''}"
        description = format_example(f"{row['train_label']}", name, format_text(row, "train_"))
        spread = "" if row["spread"] is None else f"±{row['spread']:.4f}"
        lines = (f"{row['removal_effect']:+.4f}", spread, format_ranking_score(row))
        table.add_row(Text("\n".join(filter(None, lines)), style=style), description)
    return table


def _render_ranking_legend(has_scores: bool) -> list[Text]:
    return [Text(RANKING_LEGEND, style="dim")] if has_scores else []


def make_two_column_table() -> Table:
    """Make a table without borders: a number on the left, the rest on the right."""
    table = Table(box=None, show_header=False, padding=(0, 1), expand=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1)
    return table


def format_example(label: str, name: str, text: Text) -> Text:
    """Format an example: label and id on one line, text below."""
    return Text.assemble((label, "bold"), (f"  {name}\n", "dim"), text)


def format_text(row: Row, prefix: str) -> Text:
    """Return the one or two texts of an example, without interpreting markup."""
    pair = row[f"{prefix}text_pair"]
    text = Text(f"{row[f'{prefix}text']}")
    return text if pair is None else text.append("\n→ ", style="bold").append(f"{pair}")
