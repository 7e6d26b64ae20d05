"""What `fastif train` writes beside a model: all that decided its weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tasks.data.dataset import Table
from tasks.study.study import Study

RECORD, ROWS = "fastif-training.json", "fastif-rows.parquet"
FORMAT = 1
"""Of the entry `study`; a record of before there was one says only its fingerprint."""
SCHEMA = {"content": pl.Binary, "label": pl.String}


@dataclass(frozen=True)
class TrainingRecord:
    """What is known of how a model was trained.

    Attributes:
        folder: of the model.
        known: the record as it was written; empty where it cannot be read.
        rows: content and label of each training row, in their order; None where not kept.
        damage: why it cannot be read; empty if it can.
    """

    folder: Path
    known: Mapping[str, Any]
    rows: pl.DataFrame | None = None
    damage: str = ""

    @property
    def study(self) -> Mapping[str, Any] | None:
        """The settings; None where an earlier version wrote none."""
        return self.known.get("study")

    @property
    def model_digest(self) -> str:
        """Of the files that were written beside it."""
        return str(self.known.get("model_digest", ""))


def settings_of(study: Study, table: Table, base: str) -> dict[str, Any]:
    """All that decides the weights, as the record keeps it.

    Args:
        study: with its section [training].
        table: the training rows.
        base: digest of the model that training starts from.
    """
    assert study.training is not None
    weights = study.loss.made(table.labels, len(study.labels)).class_weights
    return {
        "format": FORMAT,
        "labels": list(study.labels),
        "max_length": study.model.max_length,
        "loss": study.loss.shape,
        "class_weights": None if weights is None else [float(weight) for weight in weights],
        "weight_decay": study.weight_decay,
        "weight_decay_kind": study.loss.weight_decay_kind,
        "training": how_of(study),
        "base": base,
        "rows": len(table),
        "table": table.digest,
    }


def how_of(study: Study) -> dict[str, Any]:
    """The settings of [training] that decide the weights, but for the base and the decay."""
    assert study.training is not None
    left_out = {"base", "checkpoints", "weight_decay"}
    return study.training.model_dump(mode="json", exclude=left_out)


def contents_of(study: Study, table: Table) -> pl.DataFrame:
    """A digest of what each row is, without its label, and the label's name."""
    pairs = table.text_pairs or [None] * len(table)
    rows = zip(table.texts, pairs, strict=True)
    content = [hashlib.sha256(json.dumps(row).encode()).digest()[:16] for row in rows]
    labels = [study.labels[label] for label in table.labels]
    return pl.DataFrame({"content": content, "label": labels}, schema=SCHEMA)


def read_record(folder: Path) -> TrainingRecord | None:
    """The record beside a model; None where there is none."""
    path = folder / RECORD
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return TrainingRecord(folder, {}, damage=f"{RECORD} cannot be read: {error}")
    study = known.get("study") if isinstance(known, dict) else None
    if not isinstance(known, dict) or not isinstance(study, dict | None):
        return TrainingRecord(folder, {}, damage=f"{RECORD} holds no record")
    if study is None:
        return TrainingRecord(folder, known)
    if study.get("format") != FORMAT:
        later = f"{RECORD} has the format {study.get('format')}, this version reads {FORMAT}"
        return TrainingRecord(folder, {}, damage=later)
    missing = sorted(KEYS - study.keys())
    if missing:
        return TrainingRecord(folder, {}, damage=f"{RECORD} lacks {', '.join(missing)}")
    return _with_rows(TrainingRecord(folder, known))


KEYS = {
    "labels", "max_length", "loss", "class_weights", "weight_decay", "weight_decay_kind",
    "training", "base", "rows", "table",
}  # fmt: skip


def _with_rows(record: TrainingRecord) -> TrainingRecord:
    try:
        rows = pl.read_parquet(record.folder / ROWS)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        damage = f"{ROWS} cannot be read: {str(error).splitlines()[0]}"
        return TrainingRecord(record.folder, record.known, damage=damage)
    if rows.schema != pl.Schema(SCHEMA) or len(rows) != record.known["study"]["rows"]:
        return TrainingRecord(record.folder, record.known, damage=f"{ROWS} holds other rows")
    return TrainingRecord(record.folder, record.known, rows)
