"""Handmade detections: a study of labels alone whose ranking is known, without a classifier."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from handmade_runs import fill_columns

from storage import Store
from storage.mislabel_schemas import MISLABELS
from storage.parquet import write_table

STUDY = "alone"


@dataclass
class Labelled:
    """A training row: what it says, its label, what is suggested and how strongly."""

    id: str
    text: str
    label: str
    suggested: str = "b"
    strength: float = 0.0
    source: str = "x"


def write_study(
    folder: Path, rows: list[Labelled], queries: list[tuple[str, str]] = (), limits: str = ""
) -> Path:
    """Write a study of texts with these rows, and queries as pairs of text and label."""
    folder.mkdir(exist_ok=True)
    frame = pl.DataFrame(
        [{"id": row.id, "text": row.text, "label": row.label, "source": row.source} for row in rows]
    )
    frame.write_parquet(folder / "rows.parquet")
    lines = [f'name = "{STUDY}"', 'labels = ["a", "b", "c"]', "[train]", 'table = "rows.parquet"']
    lines += ['text = "text"', 'label = "label"', 'id = "id"', 'groups = ["source"]']
    if queries:
        table = pl.DataFrame(queries, schema=["text", "label"], orient="row")
        table.write_parquet(folder / "queries.parquet")
        lines += ["[queries]", 'table = "queries.parquet"', 'text = "text"', 'label = "label"']
    lines += ["[store]", 'path = "store"', "[report]", limits]
    (folder / "study.toml").write_text("\n".join(lines) + "\n")
    return folder / "study.toml"


def write_detection(folder: Path, rows: list[Labelled], number: int | None = 1, **facts) -> None:
    """Write a detection of these rows into the store; that of an early version has no number."""
    ranks = {
        i: rank for rank, i in enumerate(sorted(range(len(rows)), key=lambda i: -rows[i].strength))
    }
    table = [
        {"train": i, "rank": ranks[i], "id": row.id, "text": row.text, "text_pair": None,
         "label": row.label, "probability": row.strength, "doubt": row.strength,
         "suggested": row.suggested, "confidence": 0.9, "cluster": i, "loss": row.strength,
         "conflicting": None, "agreeing": None, "reviewed": None}
        for i, row in enumerate(rows)
    ]  # fmt: skip
    record = {
        "study": STUDY, "created": f"2026-01-{number or 1:02d}T02:00:00+00:00", "procedure": 1,
        "rows": len(rows), "budget": 10, "trusted": 0, "encoder": "base", "informed": True,
        "encoder_saw_labels": False, "skill": 0.8, "errors": None, "counted_by": None,
        "drawn": None, "by_label": {"a": {"rows": 1}, "b": {"rows": 1}, "c": {"rows": 1}},
        "by_group": {}, "reviewed": {"conflicts": 0}, "seconds": 1.0, "versions": {},
        "recall": {"planted": 40, "budget": 10, "any": 0.9, "confusable": 0.5},
    }  # fmt: skip
    record |= facts | ({"number": number} if number is not None else {})

    def write(place: Path) -> None:
        write_table(place, "mislabels", fill_columns(MISLABELS, table))
        (place / "facts.json").write_text(json.dumps(record))

    store = Store.open(folder / "store", STUDY)
    store.write_artifact("mislabels", f"{number or 0:064x}", write)
