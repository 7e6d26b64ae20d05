"""The summary of a run as Prefect artifacts: numbers and ids, no example text."""

from pathlib import Path

from storage.uri import is_remote
from tasks.results.diagnostics import (
    format_loss,
)
from tasks.results.evidence import Row
from tasks.results.summary import Summary

WORST_COLUMNS = ("worst queries", "loss", "most harmful training row", "removal effect")


def format_truncated_counts(facts: Row) -> str:
    """How many texts were longer than the model reads."""
    return f"{facts['truncated_queries']} queries, {facts['truncated_train']} training rows"


def render_summary_markdown(summary: Summary) -> str:
    """The summary as a Prefect artifact: numbers and ids, no example text."""
    facts = summary.facts
    expected = f"| expected | {summary.outcome} |"
    lines = [
        f"# Influence audit {summary.run}",
        "",
        "| | |",
        "| --- | --- |",
        f"| accuracy | {facts['accuracy']:.1%} of {facts['query_rows']} queries |",
        f"| training rows | {facts['train_rows']} |",
        f"| cut to max_length | {format_truncated_counts(facts)} |",
        *(f"| {name} | {text} |" for name, text in summary.evidence),
        *([expected] if summary.outcome else []),
        f"| results | `{summary.store}` |",
        f"| report | {_format_page_link(summary)} |",
        "",
        *(f"**{warning}**\n" for warning in summary.warnings),
        f"| {' | '.join(WORST_COLUMNS)} |",
        f"| {' | '.join('---' for _ in WORST_COLUMNS)} |",
    ]
    lines += [f"| {' | '.join(row.values())} |" for row in make_worst_queries_table(summary)]
    return "\n".join(lines) + "\n"


def _format_page_link(summary: Summary) -> str:
    """A link to the page about the run, or the command that builds it."""
    page = make_page_path(summary.store, summary.study.parent, summary.run)
    if page.is_file():
        return f"[{page.name}]({page.resolve().as_uri()})"
    return f"`fastif report {summary.run} --study {summary.study}`"


def make_page_path(store_root: Path, folder: Path, run: str) -> Path:
    """Where the page of a run is: beside a store in a folder, beside the study of any other.

    Args:
        store_root: of the store.
        folder: of the study.
        run: by name.
    """
    parent = folder if is_remote(store_root) else Path(store_root).parent
    return parent / "reports" / f"{run}.html"


def make_worst_queries_table(summary: Summary) -> list[dict[str, str]]:
    """The worst queries as a Prefect table: numbers, rounded, and ids, no example text."""
    rows = []
    for explained in summary.worst:
        example = explained.harmful[0] if explained.harmful else None
        worst_example = (
            (str(example["train_id"]), f"{example['removal_effect']:+.4f}")
            if example
            else ("none", "")
        )
        cells = (str(explained.query["id"]), format_loss(explained.query["loss"]), *worst_example)
        rows.append(dict(zip(WORST_COLUMNS, cells, strict=True)))
    return rows
