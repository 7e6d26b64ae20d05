"""Random tables of texts, and their changes between two runs."""

import random
from pathlib import Path
from typing import Any

import polars as pl

from tests.fuzz.case import Case, Night
from tests.fuzz.families import WORDS
from tests.fuzz.targets import WEIGHTS, draw_value, target_columns, write_number

Row = dict[str, Any]
"""Cells by column; `label` is a `Value`, and `focus` the label that a query is about."""
Rows = list[Row]
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
        train[place]["label"] = _draw_other(chance, case, train[place]["label"])
    for place in places[: night.reweighted]:
        train[place]["weight"] = chance.choice([w for w in WEIGHTS if w != train[place]["weight"]])
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
            row["label"] = draw_value(
                chance, case.target, case.labels
            )  # labelled since the first night
    return {"train": train, "queries": [*kept_queries, *new]}


def _remove_labels(case: Case, queries: Rows) -> None:
    """Remove the labels of a share of the queries, in place."""
    chance = random.Random(f"{case.seed} {len(queries)} unlabelled")
    for row in queries:
        if chance.random() < case.unlabelled:
            row["label"] = None


def _draw_other(chance: random.Random, case: Case, value: object) -> object:
    """Another target than this."""
    while (other := draw_value(chance, case.target, case.labels)) == value:
        pass
    return other


def expand_by_label(case: Case, queries: Rows) -> Rows:
    """Each query once for each label, if each is explained on its own."""
    if not case.target.by_label:
        return queries
    return [
        {**row, "id": f"{row['id']}:{label}", "focus": place}
        for row in queries
        for place, label in enumerate(case.labels)
    ]


def _row(chance: random.Random, case: Case, name: str) -> Row:
    def text() -> str:
        return " ".join(chance.choice(WORDS) for _ in range(chance.choice([1, 3, 5, 9, 14])))

    row: Row = {"id": name, "a": text()}
    if case.pairs:
        row["b"] = text()
    row |= {"label": draw_value(chance, case.target, case.labels), "source": chance.choice("xy")}
    if case.target.weighted and not name.startswith(("q", "m")):
        row["weight"] = chance.choice(WEIGHTS)
    return row


def write_tables(case: Case, tables: dict[str, Rows], folder: Path) -> None:
    """One file each, in the case's formats."""
    for (name, rows), ending in zip(tables.items(), case.formats, strict=True):
        frame = pl.DataFrame([{k: v for k, v in row.items() if k != "label"} for row in rows])
        if name == "train" or case.unlabelled < 1:
            values = [row["label"] for row in rows]
            columns = target_columns(case.target, case.labels, values, ending)
            frame = frame.with_columns(pl.Series(*column) for column in columns.items())
        if "weight" in frame.columns:
            weights = [write_number(case.target, row["weight"], ending) for row in rows]
            frame = frame.with_columns(weight=pl.Series(weights))
        path = folder / f"{name}.{ending}"
        if ending == "csv":
            frame.write_csv(path, separator=";" if case.target.comma else ",")
        else:
            (frame.write_parquet if ending == "parquet" else frame.write_ndjson)(path)
