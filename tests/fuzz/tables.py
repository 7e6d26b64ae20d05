"""Random tables of texts, and their changes between two runs."""

import random
from pathlib import Path

import polars as pl

from tests.fuzz.case import Case, Night
from tests.fuzz.families import WORDS

Rows = list[dict[str, str | None]]
"""Rows of a table; a query may have no label."""


def first_tables(case: Case) -> dict[str, Rows]:
    """Training rows and queries of the first run."""
    chance = random.Random(f"{case.seed} rows")
    train = [_row(chance, case, f"t{place}") for place in range(case.rows)]
    queries = [_row(chance, case, f"q{place}") for place in range(case.queries)]
    _remove_labels(case, queries)
    if case.empty:
        train[1]["a"] = ""
    return {"train": train, "queries": queries}


def next_tables(case: Case, night: Night, before: dict[str, Rows]) -> dict[str, Rows]:
    """The tables of the second run."""
    chance = random.Random(f"{case.seed} night")
    train = [dict(row) for row in before["train"]]
    places = chance.sample(range(len(train)), len(train))
    for place in places[: night.relabelled]:
        others = [label for label in case.labels if label != train[place]["label"]]
        train[place]["label"] = chance.choice(others)
    for place in places[night.relabelled :][: night.edited]:
        train[place]["a"] = f"{train[place]['a']} angry"
    gone = [train[place] for place in places[len(places) - night.gone :]]
    kept = [row for row in train if not any(row is removed for removed in gone)]
    added = [_row(chance, case, f"n{place}") for place in range(night.added)]
    if night.ids == "reused":
        for row, old in zip(added, gone, strict=False):
            row["id"] = old["id"]
    train = added + kept if night.front else kept + added
    if night.shuffled:
        chance.shuffle(train)
    new = [_row(chance, case, f"m{place}") for place in range(night.new_queries)]
    _remove_labels(case, new)
    kept_queries = [dict(row) for row in before["queries"][night.new_queries :]]
    for row in kept_queries:
        if row["label"] is None and case.unlabelled < 1 and chance.random() < 0.3:
            row["label"] = chance.choice(case.labels)  # labelled since the first night
    return {"train": train, "queries": [*kept_queries, *new]}


def _remove_labels(case: Case, queries: Rows) -> None:
    """Remove the labels of a share of the queries, in place."""
    chance = random.Random(f"{case.seed} {len(queries)} unlabelled")
    for row in queries:
        if chance.random() < case.unlabelled:
            row["label"] = None


def _row(chance: random.Random, case: Case, name: str) -> dict[str, str | None]:
    def text() -> str:
        return " ".join(chance.choice(WORDS) for _ in range(chance.choice([1, 3, 5, 9, 14])))

    row: dict[str, str | None] = {"id": name, "a": text()}
    if case.pairs:
        row["b"] = text()
    return {**row, "label": chance.choice(case.labels), "source": chance.choice("xy")}


def write_tables(case: Case, tables: dict[str, Rows], folder: Path) -> None:
    """One file each, in the case's formats."""
    for (name, rows), ending in zip(tables.items(), case.formats, strict=True):
        frame = pl.DataFrame(rows)
        if name == "queries" and case.unlabelled == 1:
            frame = frame.drop("label")
        path = folder / f"{name}.{ending}"
        write = {
            "parquet": frame.write_parquet,
            "csv": frame.write_csv,
            "jsonl": frame.write_ndjson,
        }
        write[ending](path)
