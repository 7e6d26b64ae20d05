"""What a person should see after an audit, read from the store."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage import (
    Store,
    harmful_rows,
    in_slice,
    most_harmful,
    most_helpful,
    touched_by,
    with_examples,
    with_queries,
    worst_queries,
)

WORST, EACH = 5, 3
COLUMNS = ("id", "text", "text_pair", "label", "prediction")
Row = dict[str, object]


@dataclass(frozen=True)
class Explained:
    """A query with the training examples that harmed and helped it most."""

    query: Row
    harmful: list[Row]
    helpful: list[Row]


@dataclass(frozen=True)
class Summary:
    """One run, as far as a terminal has room for it."""

    run: str
    study: Path
    store: Path
    facts: Row
    slices: list[Row]
    trust: Row
    worst: list[Explained]
    offenders: list[Row]


def read_summary(store: Store, run: str, study: Path) -> Summary:
    """Read the summary of a run: accuracy, trust, and its worst queries explained."""
    queries = store.scan("queries", run)
    facts = store.scan("runs", run).collect().to_dicts()
    worst = worst_queries(queries, WORST).select("query").collect()["query"]
    return Summary(
        run,
        study,
        store.layout.root,
        facts[0] if facts else {},
        _slices(queries.collect()),
        _trust(store.scan("solves", run)),
        [explain(store, run, query, EACH) for query in worst],
        _offenders(store, run),
    )


def _offenders(store: Store, run: str) -> list[Row]:
    """The training examples that harm the wrongly predicted queries most, summed over them."""
    wrong = in_slice(store.scan("scores", run), store.scan("queries", run), "correct", False)
    rows = with_examples(harmful_rows(wrong, EACH), store.scan("train", run), COLUMNS)
    return rows.collect().to_dicts()


def explain(store: Store, run: str, query: int, k: int) -> Explained:
    """The k most harmful and the k most helpful training examples of one query."""
    scores, train = store.scan("scores", run), store.scan("train", run)
    row = store.scan("queries", run).filter(pl.col("query") == query).collect().to_dicts()[0]
    solve = store.scan("solves", run).filter(pl.col("query") == query).collect().to_dicts()[0]
    ends = [
        with_examples(end(scores, query, k), train, COLUMNS).collect().to_dicts()
        for end in (most_harmful, most_helpful)
    ]
    return Explained(row | solve, *ends)


def trace(store: Store, run: str, train: int, k: int) -> tuple[Row, list[Row]]:
    """A training example and the k queries it moved most."""
    row = store.scan("train", run).filter(pl.col("train") == train).collect().to_dicts()[0]
    touched = touched_by(store.scan("scores", run), train)
    rows = with_queries(touched.head(k), store.scan("queries", run), COLUMNS)
    return row, rows.collect().to_dicts()


def _slices(queries: pl.DataFrame) -> list[Row]:
    """Accuracy by the first group column, if there is one."""
    groups = [name for name in queries.columns if name.startswith("group_")]
    if not groups:
        return []
    grouped = queries.group_by(pl.col(groups[0]).alias("slice")).agg(
        queries=pl.len(), accuracy=pl.col("correct").mean(), loss=pl.col("loss").mean()
    )
    return grouped.sort("accuracy", "slice").head(8).to_dicts()


def _trust(solves: pl.LazyFrame) -> Row:
    return (
        solves.select(
            damping=pl.col("damping").first(),
            solver=pl.col("solver").first(),
            worst_residual=pl.col("residual").max(),
            unconverged=(~pl.col("converged")).sum(),
            cosine=pl.col("gradient_cosine").median(),
        )
        .collect()
        .to_dicts()[0]
    )


def count_of_cut(facts: Row) -> str:
    """How many texts were longer than the model reads."""
    return f"{facts['truncated_queries']} queries, {facts['truncated_train']} training rows"


def unconverged(trust: Row) -> str:
    """A remark on queries that did not converge; empty if all did."""
    count = trust["unconverged"]
    return f"  [{count} queries did not converge]" if count else ""


def markdown(summary: Summary) -> str:
    """The summary as a Prefect artifact: numbers and ids, no example text."""
    facts, trust = summary.facts, summary.trust
    lines = [
        f"# Influence audit {summary.run}",
        "",
        "| | |",
        "| --- | --- |",
        f"| accuracy | {facts['accuracy']:.1%} of {facts['query_rows']} queries |",
        f"| training rows | {facts['train_rows']} |",
        f"| cut to max_length | {count_of_cut(facts)} |",
        f"| solver | {trust['solver']}, damping {trust['damping']:g} |",
        f"| largest residual | {trust['worst_residual']:.1e}{unconverged(trust)} |",
        f"| results | `{summary.store}` |",
        "",
        "| worst queries | loss | most harmful training row | removal effect |",
        "| --- | --- | --- | --- |",
    ]
    for explained in summary.worst:
        harm = explained.harmful[0] if explained.harmful else None
        row = f"{harm['train_id']} | {harm['removal_effect']:+.4f}" if harm else "none | "
        lines.append(f"| {explained.query['id']} | {explained.query['loss']:.2f} | {row} |")
    return "\n".join(lines) + "\n"
