"""The summary of a run as Prefect artifacts: numbers and ids, no example text."""

import math
from collections.abc import Callable
from pathlib import Path

from tasks.results.diagnostics import (
    format_loss,
)
from tasks.results.evidence import Row
from tasks.results.summary import Summary
from tasks.run.page_path import make_page_path

WORST_COLUMNS = ("worst queries", "loss", "most harmful training row", "removal effect")


def format_truncated_counts(facts: Row) -> str:
    """Format the numbers of texts that were truncated to `max_length`."""
    return f"{facts['truncated_queries']} queries, {facts['truncated_train']} training rows"


def render_summary_markdown(summary: Summary, find_url: Callable[[Path], str] = Path.as_uri) -> str:
    """Render the summary as Markdown for Prefect: numbers and ids, no example text.

    Args:
        summary: Summary of a run.
        find_url: Function that returns the address of a report page.
    """
    facts = summary.facts
    forecast = f"| forecast | {summary.outcome} |"
    lines = [
        f"# Influence audit {summary.run}",
        "",
        "| | |",
        "| --- | --- |",
        f"| accuracy | {summary.accuracy} |",
        f"| explained | {summary.measures} |",
        f"| training rows | {facts['train_rows']} |",
        f"| truncated | {format_truncated_counts(facts)} |",
        *(f"| {name} | {text} |" for name, text in summary.evidence),
        *([forecast] if summary.outcome else []),
        f"| results | `{summary.store}` |",
        f"| report | {_format_page_link(summary, find_url)} |",
        "",
        *(f"**{warning}**\n" for warning in summary.warnings),
        f"| {' | '.join(WORST_COLUMNS)} |",
        f"| {' | '.join('---' for _ in WORST_COLUMNS)} |",
    ]
    lines += [f"| {' | '.join(row.values())} |" for row in make_worst_queries_table(summary)]
    return "\n".join(lines) + "\n"


def _format_page_link(summary: Summary, find_url: Callable[[Path], str]) -> str:
    """Link to the report page of the run, or the command that builds it."""
    page = make_page_path(summary.store, summary.study.parent, summary.run)
    if page.is_file():
        return f"[{page.name}]({find_url(page.resolve())})"
    return f"`fastif report {summary.run} --study {summary.study}`"


def make_worst_queries_table(summary: Summary) -> list[dict[str, str]]:
    """Worst queries as a Prefect table: ids and rounded numbers, no example text."""
    rows = []
    for explained in summary.worst:
        example = explained.harmful[0] if explained.harmful else None
        worst_example = (
            (str(example["train_id"]), f"{example['removal_effect']:+.4f}")
            if example
            else ("none", "")
        )
        cells = (str(explained.query["id"]), _format_query_loss(explained.query), *worst_example)
        rows.append(dict(zip(WORST_COLUMNS, cells, strict=True)))
    return rows


def _format_query_loss(query: Row) -> str:
    """Format the loss at the label of a query, or without one at the predicted label."""
    if query["label"] is not None:
        return format_loss(query["loss"])
    probability = query["probability"]
    loss = None if not probability else -math.log(float(str(probability)))
    return f"{format_loss(loss)} at the prediction"
