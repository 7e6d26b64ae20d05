"""A study of a table of texts or columns, with annotations of some of its rows in the store."""

import json
from pathlib import Path

import polars as pl

from storage import Store, polars_schema
from storage.mislabel_schemas import VERDICTS
from tasks.data.inputs import read_inputs
from tasks.data.row_hashes import content_digests, row_digests
from tasks.mislabels.annotations import write_annotations
from tasks.mislabels.corrected_files import check_corrected_table
from tasks.mislabels.corrected_table import CorrectedRows, correct_rows, find_store, write_corrected
from tasks.study.study import load_study

TEXTS = {"text": "text", "label": "label", "id": "id"}
RIGHTS = {"a": "pos", "b": "pos", "c": None}
"""Row a becomes pos, b is confirmed, c is dropped, d has no annotation."""


def write_study(folder: Path, labels: list[str], train: dict, queries: dict | None = None) -> Path:
    """Write a study of labels only."""
    lines = ['name = "made"', f"labels = {json.dumps(labels)}", "[mislabels]", 'encoder = "none"']
    if "text" not in train:
        lines = lines[:2]
    for role, keys in (("train", train), ("queries", queries)):
        if keys:
            lines += [f"[{role}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path = folder / "study.toml"
    path.write_text("\n".join([*lines, "[store]", 'path = "store"']) + "\n", "utf-8")
    return path


def annotate(study: Path, rights: dict[str, str | None], reviewer: str = "ann") -> None:
    """Import annotations by id, as `fastif review import` stores them."""
    inputs = read_inputs(study)
    table, labels = inputs.train, inputs.study.labels
    store = Store.open(study.parent / "store", inputs.study.name)
    digests, contents = row_digests(table, labels), content_digests(table)
    lines = [
        {"row": digests[i], "content": contents[i], "id": name, "label": labels[table.labels[i]],
         "right_label": rights[name], "reviewer": reviewer}
        for i, name in enumerate(table.ids) if name in rights
    ]  # fmt: skip
    assert len(lines) == len(rights)
    frame = pl.DataFrame(lines, schema=polars_schema(VERDICTS))
    write_annotations(store, frame, labels, "review.csv", "2026-01-02T03:04:05+00:00")


def correct(study: Path, duplicates: bool = False, leaks: bool = False) -> CorrectedRows:
    return correct_rows(study, find_store(load_study(study)), duplicates, leaks)


def apply_to(study: Path, name: str, **drops: bool) -> Path:
    """The corrected table of a study, in its folder."""
    path = study.parent / name
    check_corrected_table(load_study(study), path)
    write_corrected(correct(study, **drops), path)
    return path


def make_study(folder, content: bytes, name: str, labels=("neg", "pos"), rights=RIGHTS, **keys):
    (folder / name).write_bytes(content)
    study = write_study(folder, list(labels), {**TEXTS, "table": name, **keys})
    annotate(study, rights)
    return study
