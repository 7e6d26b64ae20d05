"""Panel for the terminal: the flip set of one query."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.flips.findings import list_findings
from tasks.flips.flip_answer import EditedRow, FlipAnswer

LEGEND = (
    "Effect: predicted fall of the margin by the row alone, in logits, to first order. The margin "
    "is that of the predicted label against the largest other output; below 0 it is flipped."
)


def render_flip(answer: FlipAnswer) -> RenderableType:
    """Render a query with its flip set, the findings, and notes."""
    head = Text.assemble(
        "predicted ",
        (answer.prediction, "bold"),
        f", margin {answer.margin:+.3g} logits against {answer.runner_up}\n",
        _join_texts(answer.text, answer.text_pair),
        "\n",
    )
    table = Table(box=None, padding=(0, 1))
    table.add_column("effect", justify="right", no_wrap=True)
    table.add_column("label", overflow="fold")
    table.add_column("training row", overflow="fold", ratio=1)
    for row in answer.rows:
        label = row.label if row.new_label is None else f"{row.label} → {row.new_label}"
        table.add_row(f"{row.effect:+.4f}", Text(label), _describe_row(row))
    findings = Text("\n".join(["", *list_findings(answer)]))
    notes = Text("\n".join(["", LEGEND, *answer.notes]), style="dim")
    body = Group(head, *([table] if answer.rows else []), findings, notes)
    return Panel(body, title=Text(f"query {answer.query_id}"), title_align="left")


def _describe_row(row: EditedRow) -> Text:
    return Text.assemble((f"{row.id}\n", "dim"), _join_texts(row.text, row.text_pair))


def _join_texts(text: str, pair: str | None) -> str:
    return text if pair is None else f"{text}\n→ {pair}"
