"""The summary of an audit, a query and a training example, drawn for a terminal."""

import shlex
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.audit.layers import Layers
from tasks.results.diagnostics import Row, nats
from tasks.results.group_names import name_of
from tasks.results.summary import Explained, Summary, count_of_cut

NOT_TRAINED = "  not trained on: minus the effect is that of adding it"


def draw(summary: Summary) -> RenderableType:
    """The summary for a terminal."""
    return Group(
        *(draw_explained(explained) for explained in summary.worst),
        _offenders_panel(summary),
        _facts_panel(summary),
        *_alarm_panels(summary),
        _next_steps(summary),
    )


def draw_explained(explained: Explained) -> RenderableType:
    """A query on top, its harmful and helpful training examples below."""
    query = explained.query
    head = Text.assemble(
        (f"{query['label']}", "bold green"),
        " but predicted " if not query["correct"] else ", predicted correctly",
        "" if query["correct"] else (f"{query['prediction'] or 'nothing'}", "bold red"),
        f"   loss {nats(query['loss'])} nats\n",
        _text_of(query, ""),
    )
    if query["reason"]:
        why = Text(f"\nquarantined, it has no scores. {query['reason']}", style="bold red")
        return _query_panel(query, Group(head, why))
    harmful = _effects(explained.harmful, "red")
    helpful = _effects(explained.helpful, "green")
    parts = Group(
        head,
        Text("\nharmful: the loss would fall without it", style="red italic"),
        harmful,
        Text("helpful: the loss would rise without it", style="green italic"),
        helpful,
    )
    return _query_panel(query, parts)


def draw_layers(layers: Layers) -> RenderableType:
    """One part of the model a row: what the shown harmful and helpful examples do through it."""
    ends = [[e for _, e in layers.rows if (sum(e) < 0) == harmful] for harmful in (True, False)]
    table = Table(box=None, padding=(0, 1))
    table.add_column("layer")
    for name, style in (("harmful, summed", "red"), ("helpful, summed", "green")):
        table.add_column(name, justify="right", style=style)
    for place, name in enumerate(layers.names):
        sums = [sum(effects[place] for effects in end) for end in ends]
        table.add_row(Text(name), *(f"{total:+.4f}" for total in sums))
    table.add_section()
    table.add_row("all", *(f"{sum(map(sum, end)):+.4f}" for end in ends))
    title = "the same by the layers that these examples pull on, nats"
    return Panel(table, title=title, title_align="left")


def _query_panel(query: Row, parts: Group) -> RenderableType:
    return Panel(parts, title=Text(f"query {query['id']}"), title_align="left")


def _effects(rows: list[Row], style: str) -> RenderableType:
    """One training example a row: its effect on the left, label, id and text on the right."""
    if not rows:
        return Text("  none among the candidates", style="dim")
    table = _two_columns()
    for row in rows:
        name = f"{row['train_id']}{NOT_TRAINED if row['train_trained'] is False else ''}"
        about = _about(f"{row['train_label']}", name, _text_of(row, "train_"))
        spread = "" if row["spread"] is None else f"\n±{row['spread']:.4f}"
        table.add_row(Text(f"{row['removal_effect']:+.4f}{spread}", style=style), about)
    return table


def draw_trace(row: Row, touched: list[Row]) -> RenderableType:
    """A training example and the queries it moved most."""
    head = Text.assemble(
        (f"{row['label']}", "bold"),
        f"   own loss {nats(row['loss'])} nats{NOT_TRAINED if row['trained'] is False else ''}\n",
        _text_of(row, ""),
        "\n",
    )
    table = _two_columns()
    for touch in touched:
        effect = float(str(touch["removal_effect"]))
        label = f"{touch['query_label']}, predicted {touch['query_prediction'] or 'nothing'}"
        table.add_row(
            Text(f"{effect:+.4f}", style="red" if effect < 0 else "green"),
            _about(label, f"{touch['query_id']}", _text_of(touch, "query_")),
        )
    rows = table if touched else Text("no query had it among its candidates", style="dim")
    note = Text(
        "removal effects in nats: below 0 it harmed that query, above 0 it helped", style="dim"
    )
    return Panel(Group(head, rows, note), title=Text(f"train {row['id']}"), title_align="left")


def _two_columns() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1), expand=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1)
    return table


def _about(label: str, name: str, text: Text) -> Text:
    return Text.assemble((label, "bold"), (f"  {name}\n", "dim"), text)


def _text_of(row: Row, prefix: str) -> Text:
    """The one or two texts of an example; never read as markup."""
    pair = row[f"{prefix}text_pair"]
    text = Text(f"{row[f'{prefix}text']}")
    return text if pair is None else text.append("\n→ ", style="bold").append(f"{pair}")


def _offenders_panel(summary: Summary) -> RenderableType:
    table = _two_columns()
    for row in summary.offenders:
        count = f"{row['train_label']}, harms {row['harmful_queries']} wrongly predicted queries"
        effect = Text(f"{row['harmful_effect']:+.4f}", style="red")
        table.add_row(effect, _about(count, f"{row['train_id']}", _text_of(row, "train_")))
    rows = table if summary.offenders else Text("none", style="dim")
    title = "training examples that harm the wrong predictions most, summed (nats)"
    return Panel(rows, title=title, title_align="left")


def _facts_panel(summary: Summary) -> RenderableType:
    facts = summary.facts
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("accuracy", f"{facts['accuracy']:.1%} of {facts['query_rows']} queries")
    for part in summary.slices:
        share = f"{part['accuracy']:.1%} of {part['queries']}, mean loss {nats(part['loss'])}"
        value: str | None = part["slice"]  # type: ignore[assignment]
        table.add_row(Text(f"  {name_of(value)}"), share)
    table.add_row("training rows", f"{facts['train_rows']:,}")
    table.add_row("cut to max_length", count_of_cut(facts))
    table.add_row("parameters", f"{facts['parameters']:,} attributed")
    for name, found in summary.evidence:
        table.add_row(name, Text(found))
    table.add_row("time", f"{facts['seconds']:.0f} s")
    if summary.outcome:
        table.add_row("expected", f"{summary.outcome}")
    return Panel(table, title=Text(f"run {summary.run}"), title_align="left")


def _alarm_panels(summary: Summary) -> Iterator[RenderableType]:
    """Nothing if nothing is wrong."""
    lines = [Text(alarm) for alarm in summary.alarms]
    if lines:
        yield Panel(Group(*lines), title="look at this", title_align="left", style="bold red")


def _next_steps(summary: Summary) -> RenderableType:
    study = shlex.quote(str(summary.study))
    lines = [Text.assemble("Results: ", (str(summary.store), "bold")), Text("What to type next:")]
    if summary.worst:
        worst = summary.worst[0]
        name = shlex.quote(str(worst.query["id"]))
        lines.append(Text(f"  fastif top {name} --study {study}", style="cyan"))
        rows = worst.harmful or worst.helpful
        if rows:
            name = shlex.quote(str(rows[0]["train_id"]))
            lines.append(Text(f"  fastif show {name} --study {study}", style="cyan"))
    lines.append(Text(f"  fastif report --study {study}", style="cyan"))
    lines.append(Text(f"  fastif runs --study {study}", style="cyan"))
    return Group(*lines)
