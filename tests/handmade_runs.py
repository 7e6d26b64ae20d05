"""Handmade runs: a store with a finished run of given rows, without a model."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from storage import RunRecord, Store, compute_fingerprint, polars_schema
from storage.example_schemas import queries_schema, train_schema
from storage.mislabel_schemas import MISLABELS
from storage.runs_schema import RUNS
from storage.schemas import SCORES, SOLVES
from tasks.report.run_data import read_run_data

STUDY = "by-hand"
DEFAULTS = {pl.String: "", pl.Boolean: True, pl.Float32: 0.5, pl.Float64: 0.5}


@dataclass
class Row:
    """An example; `groups` by name. Without a label it has a prediction."""

    id: str
    text: str
    label: str | None = "a"
    correct: bool = True
    pair: str | None = None
    groups: dict[str, str | None] = field(default_factory=dict)
    loss: float = 0.5
    prediction: str | None = None
    measure: str | None = None


def open_store(folder: Path) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    return Store.open(folder / "store", STUDY)


def rows(prefix, count, values, name):
    """Make rows with texts of few words, two labels, and these values of a group in turn."""
    return [
        Row(f"{prefix}{i}", f"{prefix} word{i % 7} and word{i % 5} {i}", "ab"[i % 2], i % 3 > 0,
            groups={name: values[i % len(values)]})
        for i in range(count)
    ]  # fmt: skip


def make_run_data(folder, train, queries, **given):
    """Write a run into a new store and read its data for a report."""
    store = open_store(folder)
    write_run(store, "one", train, queries, **given)
    return read_run_data(store, "one", folder / "study.toml")


def write_run(
    store, run, train, queries, effects=None, recall=None, solves=None, curvature=None,
    scales=None, tables=None, query_digest=None, **parts
):  # fmt: skip
    """Commit a run of these rows; `effects` is {(query, train): effect}, all if omitted.

    With `scales`, one for each training row, rows are ranked by effect times scale. `tables` stands
    for the digest of both tables, the name of the run if omitted.
    """
    same = tables or run
    parts = {"train": f"{same}", "queries": query_digest or same, "model": "m", **parts}
    mark = compute_fingerprint(parts)
    created = "2026-01-01T00:00:00+00:00"
    record = RunRecord(run, STUDY, mark, created, parts, len(queries), len(train), 1_000)
    store.open_run(record)
    if effects is None:
        effects = {
            (q, t): 0.01 * ((7 * t + 3 * q) % 11 - 5.5)
            for q in range(len(queries))
            for t in range(len(train))
        }
    store.commit(run, "train", {"train": examples(train, "train")})
    frames = {"queries": examples(queries, "query"), "scores": scores(effects, scales)}
    frames["solves"] = fill_columns(
        SOLVES, [{"query": q, "reason": None, **(solves or {})} for q in range(len(queries))]
    )
    store.commit(run, "00000", frames)
    row = {"run": run, "study": STUDY, "fingerprint": mark, "candidates": '{"kind": "knn"}'}
    row |= {
        "curvature": json.dumps(curvature or {}),
        "train_rows": len(train),
        "query_rows": len(queries),
    }
    row |= {"created": datetime.now(UTC), "finished": datetime.now(UTC), "forecast": None}
    known = [query.correct for query in queries if query.label is not None]
    row |= {"accuracy": sum(known) / len(known) if known else None}
    row |= {"recall": json.dumps(recall) if recall else None}
    store.commit(run, "finish", {"runs": fill_columns(RUNS, [row])})
    return run


def write_detection(store, train, probabilities, number=1, reviewed=(), **facts):
    """Store a detection among these rows; `reviewed` are positions with an annotation."""
    rows = [
        {"train": i, "id": row.id, "text": row.text, "label": row.label, "cluster": i, "rank": i,
         "probability": share, "reviewed": "a" if i in reviewed else None}
        for i, (row, share) in enumerate(zip(train, probabilities, strict=True))
    ]  # fmt: skip

    def write(folder):
        fill_columns(MISLABELS, rows).write_parquet(folder / "mislabels.parquet")
        record = {"rows": len(rows), "number": number, **facts}
        (folder / "facts.json").write_text(json.dumps(record))

    return store.write_artifact("mislabels", f"{number:064x}", write)


def examples(rows, key):
    names = list(dict.fromkeys(name for row in rows for name in row.groups))
    schema = (train_schema if key == "train" else queries_schema)(names)
    columns = [
        {key: place, "id": row.id, "text": row.text, "text_pair": row.pair, "label": row.label,
         "prediction": row.prediction or (row.label if row.correct else "z"),
         "correct": None if row.label is None else row.correct,
         "truncated": False, "loss": None if row.label is None else row.loss, "probability": 0.6,
         **{f"group_{name}": row.groups.get(name) for name in names}}
        for place, row in enumerate(rows)
    ]  # fmt: skip
    if key == "query":
        measures = [
            {"measure": row.measure or "loss", "measure_value": row.loss}
            if row.label is not None
            else {"measure": row.measure or "log-probability", "measure_value": -row.loss}
            for row in rows
        ]
        columns = [row | measure for row, measure in zip(columns, measures, strict=True)]
    return fill_columns(schema, columns)


def scores(effects, scales=None):
    rows, ranks = [], {}

    def place(item):
        (query, train), effect = item
        return query, effect * scales[train] if scales else effect

    for (query, train), effect in sorted(effects.items(), key=place):
        rank = ranks[query] = ranks.get(query, -1) + 1
        row = {"query": query, "train": train, "rank": rank, "removal_effect": effect}
        row["ranking_score"] = effect * scales[train] if scales else None
        rows.append(row | {"distance": None, "spread": None})
    return fill_columns(SCORES, rows)


def fill_columns(schema, rows):
    """A frame of the schema; what a row does not say is null, or a plain value of its type."""
    kinds = polars_schema(schema)
    plain = {
        field.name: None if field.nullable else DEFAULTS.get(kinds[field.name].base_type(), 0)
        for field in schema
    }
    return pl.DataFrame([plain | row for row in rows], schema=kinds, strict=False)
