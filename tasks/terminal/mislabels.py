"""Rendering of a search for wrong labels, for the terminal and as Prefect artifacts."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from storage.mislabel_schemas import LABEL_SCORES
from tasks.mislabels.classifier_trust import describe_classifiers
from tasks.mislabels.contradictions import count_contradictions, is_contradiction
from tasks.mislabels.detection_warnings import warn_detection
from tasks.mislabels.doubtful_rows import select_doubtful
from tasks.mislabels.informed_ranking import select_informed
from tasks.mislabels.label_statement import LabelStatement
from tasks.mislabels.reachable_recall import read_reachable_recall
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import RANDOM_ROWS
from tasks.mislabels.strength import (
    EXPLANATION,
    draw_bar,
    grade_strength,
    is_calibrated,
    name_score,
)
from tasks.mislabels.trusted_use import describe_trusted
from tasks.results.palette import TERMINAL_HARMFUL
from tasks.terminal.label_counts import (
    describe_blocks,
    describe_random_audit,
    format_counts,
    make_error_panels,
)
from tasks.terminal.mislabel_groups import make_group_panels

SHOWN, MAX_NEIGHBOUR_CHARS = 10, 160
"""Number of rows, and of characters of a neighbour's text, that are shown."""

COUNT_HEADS = ("label", "rows", "wrong", "90 % interval", "share")
"""Heads of the counts by label; only the first two where wrong labels are not counted."""
IDENTICAL = "identical row of another label"

WHY_UNKNOWN = (
    "Labels and features alone cannot count them, since errors that follow a pattern in the text "
    "(a keyword, a habit of the annotators) look correct to every classifier trained on them."
)


def render_mislabels(
    result: MislabelResult, labels: LabelStatement, shown: int = SHOWN
) -> RenderableType:
    """Render the most suspicious rows, and what is known of the number of wrong labels."""
    unreviewed = result.table.filter(pl.col("reviewed").is_null())
    table = select_informed(unreviewed, result.facts).sort("rank")
    clusters = table.unique("cluster", keep="first", maintain_order=True)
    first = select_doubtful(clusters).head(shown)
    body: list[RenderableType] = [
        _make_flagged_panel(result, row) for row in first.iter_rows(named=True)
    ]
    if len(first) < min(shown, len(clusters)):
        body.append(Text("The labels of all further rows are hardly doubtful.", style="dim"))
    if body and not is_calibrated(result.facts):
        body.append(Text(f"{EXPLANATION}.", style="dim"))
    body.append(_make_facts_panel(result, labels))
    body += make_error_panels(result.facts)
    body += make_group_panels(result)
    body += [
        Panel(Text(text, style="bold red"), border_style="red")
        for text in warn_detection(result.facts)
    ]
    return Group(*body)


def suggest_step(result: MislabelResult) -> tuple[str, ...]:
    """Suggest the command that follows a detection: a review of rows, or its table.

    Args:
        result: Mislabel detection with the annotations of the store.
    """
    unreviewed = result.table.filter(pl.col("reviewed").is_null())
    if unreviewed.is_empty():
        return ("export", "mislabels", "--out", "mislabels.csv")
    if select_doubtful(select_informed(unreviewed, result.facts)).is_empty():
        return ("review", "export", "--random", f"{RANDOM_ROWS}", "--out", "random.csv")
    return ("review", "export", "--out", "review.csv")


def render_mislabels_markdown(result: MislabelResult, labels: LabelStatement) -> str:
    """Render the counts as Markdown for Prefect: numbers and ids, no example text."""
    facts = result.facts
    command = f" `{labels.command}`" if labels.command else ""
    lines = [f"# Mislabels of {facts['study']}", "", f"{labels.sentence}{command}", ""]
    heads = COUNT_HEADS[: 4 if labels.count else 2]
    lines += [f"| {' | '.join(heads)} |", f"| ---{' | ---:' * (len(heads) - 1)} |"]
    lines += [f"| {' | '.join(cells[: len(heads)])} |" for cells in format_counts(facts)]
    lines += ["", describe_flip_recall(facts), "", *describe_random_audit(facts)]
    lines += [f"**{warning}**" for warning in warn_detection(result.facts)]
    return "\n".join(lines) + "\n"


def make_flagged_table(result: MislabelResult, count: int = SHOWN) -> list[dict[str, str]]:
    """List the most suspicious rows for a Prefect table: ids and labels, no example text."""
    unreviewed = result.table.filter(pl.col("reviewed").is_null())
    first = select_informed(unreviewed, result.facts).sort("rank").head(count)
    return [
        {
            "id": str(row["id"]),
            "label": str(row["label"]),
            "suggested": str(row["suggested"]),
            name_score(result.facts): _format_score(result, row),
        }
        for row in first.iter_rows(named=True)
    ]


def describe_flip_recall(facts: dict[str, Any]) -> str:
    """Describe the recall of injected label flips, of those that the first rows can hold."""
    recall = read_reachable_recall(facts)
    if recall is None:
        return "none injected: every row is reviewed or more likely wrong than right"
    return str(recall)


def describe_trusted_leaks(facts: dict[str, Any]) -> list[str]:
    """Sentences on trusted rows that are also training rows; empty if there are none."""
    leaked = facts.get("trusted_in_train", 0)
    if not leaked:
        return []
    return [
        f"{leaked:,} of these are verbatim training rows: they are no independent evidence, and "
        "the estimate of wrong labels is unreliable. Give other rows, or import their labels as "
        "annotations (fastif review import)"
    ]


def _describe_contradictions(table: pl.DataFrame) -> Iterator[str]:
    """Describe identical rows with different labels; empty without any."""
    count = count_contradictions(table)
    if count.contents:
        contents = "1 content has" if count.contents == 1 else f"{count.contents:,} contents have"
        yield (
            f"{contents} rows of different labels ({count.rows:,} rows): at least {count.wrong:,} "
            "wrong if it determines the class. An annotation of one row decides the others"
        )


def _make_flagged_panel(result: MislabelResult, row: dict[str, Any]) -> RenderableType:
    is_judged = row["probability"] is not None
    suggestion = (", suggested ", (f"{row['suggested']}", "bold green")) if is_judged else ()
    score = f"{name_score(result.facts)} {_format_score(result, row, has_bar=True)}"
    if is_judged and is_calibrated(result.facts):
        score = f"wrong with {score}"
    head = Text.assemble(
        (f"{row['label']}", "bold red"), *suggestion, f"   {score}\n", _format_text(row, None)
    )
    cluster = result.table.filter(pl.col("cluster") == row["cluster"])
    if duplicates := cluster.filter(label=row["label"]).height - 1:
        head.append(f"\nand {duplicates} near duplicates", style="italic")
    body: list[RenderableType] = [head]
    neighbours = {
        "conflicting": "nearest row of another label",
        "agreeing": "nearest row of this label",
    }
    for name, words in neighbours.items():
        if row[name] is not None:
            other = result.table.row(row[name], named=True)
            is_same = is_contradiction(row, other)
            line = Text.assemble(
                f"\n{IDENTICAL if is_same else words}: ",
                (f"{other['label']}", "bold"),
                (f"  {other['id']}", "dim"),
            )
            if not is_same:
                line.append("\n").append_text(_format_text(other, MAX_NEIGHBOUR_CHARS))
            body.append(line)
    if row["harm"]:
        harm = f"\nharm to all queries {row['harm']:.4f} nats, to those of its own label "
        body.append(Text(f"{harm}{row['harm_same_label']:.4f}", style=TERMINAL_HARMFUL))
    return Panel(Group(*body), title=Text(f"{row['id']}"), title_align="left")


def _format_score(result: MislabelResult, row: dict[str, Any], *, has_bar: bool = False) -> str:
    """Format a probability as a number, and a strength as a grade or a bar without a number."""
    score = row["probability"]
    if score is None:
        return "unknown: the only row of its class"
    if is_calibrated(result.facts):
        return f"{score:.2f}"
    return draw_bar(score) if has_bar else grade_strength(score)


def _format_text(row: dict[str, Any], max_chars: int | None) -> Text:
    """Return the one or two texts of an example, without interpreting markup."""
    texts = [t for t in (row["text"], row["text_pair"]) if t is not None]
    truncated = [
        t if max_chars is None or len(t) <= max_chars else f"{t[: max_chars - 1]}…" for t in texts
    ]
    return Text("\n→ ".join(truncated))


def _make_facts_panel(result: MislabelResult, labels: LabelStatement) -> RenderableType:
    facts = result.facts
    counts = Table(box=None, padding=(0, 1))
    heads = COUNT_HEADS[: None if labels.count else 2]
    for name in heads:
        counts.add_column(name, justify="left" if name == "label" else "right")
    for label, *cells in format_counts(facts):
        counts.add_row(Text(label), *cells[: len(heads) - 1])
    lines = [f"\nlabel flips  {describe_flip_recall(facts)}"]
    lines += [f"trusted      {line}" for line in describe_trusted(facts)]
    lines += [f"trusted      {line}" for line in describe_trusted_leaks(facts)]
    lines += [f"classifier   {line}" for line in describe_classifiers(facts)]
    lines += [f"reviewed     {line}" for line in _describe_reviewed(facts["reviewed"])]
    lines += [f"precision    {line}" for line in describe_blocks(labels)]
    lines += [f"sample       {line}" for line in describe_random_audit(facts)]
    lines += [f"identical    {line}" for line in _describe_contradictions(result.table)]
    lines += [f"features     {note}" for note in facts.get("columns", [])]
    signals = [
        name for name in LABEL_SCORES if result.table[name].null_count() < result.table.height
    ]
    lines.append(f"signals      {', '.join(signals)}")
    lines.append(f"\n{labels.sentence}")
    if labels.command:
        lines.append(f"{'' if labels.count else f'{WHY_UNKNOWN} '}To count: {labels.command}")
    return Panel(Group(counts, Text("\n".join(lines))), title="labels", title_align="left")


def _describe_reviewed(reviewed: dict[str, Any]) -> Iterator[str]:
    """Describe the annotations of the table, those of random samples included."""
    if reviewed["rows"]:
        yield f"{reviewed['rows']:,} rows, {reviewed['wrong']:,} of them wrong"
    for old, new in reviewed.get("renamed", {}).items():
        yield f"label {old} is treated as renamed to {new}, since its rows have this label now"
    for label, count in reviewed.get("unusable", {}).items():
        yield (
            f"{count} annotations are {label}, which is not a label of the study: these rows count "
            "as wrong, and no label counts as right for them"
        )
