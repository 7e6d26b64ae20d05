"""Training record written next to a model by `fastif train`: all inputs of its weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tasks.data.dataset import Table
from tasks.models.target_outputs import compute_class_weights
from tasks.study.study import Study
from tasks.study.target_kind import CLASS

RECORD_FILE, TRAINING_ROWS_FILE = "fastif-training.json", "fastif-rows.parquet"
FORMAT = 1
"""Format of the entry `study`; older records hold only a fingerprint."""
SCHEMA = {"content": pl.Binary, "label": pl.String}


@dataclass(frozen=True)
class TrainingRecord:
    """Record of a model's training.

    Attributes:
        folder: Folder of the model.
        entries: Content of the JSON file; empty if it cannot be read.
        rows: Content digest and label of each training row, in order; None if not recorded.
        damage: Reason why the record cannot be read; empty if it can.
    """

    folder: Path
    entries: Mapping[str, Any]
    rows: pl.DataFrame | None = None
    damage: str = ""

    @property
    def study(self) -> Mapping[str, Any] | None:
        """Settings of the study at training; None in records of older versions."""
        return self.entries.get("study")

    @property
    def model_digest(self) -> str:
        """Digest of the model's files at training."""
        return str(self.entries.get("model_digest", ""))


def collect_settings(study: Study, table: Table, base: str) -> dict[str, Any]:
    """Return all settings that determine the weights, as the record holds them.

    Args:
        study: Study with a section `[training]`.
        table: Training table.
        base: Digest of the base model.
    """
    assert study.training is not None
    weights = compute_class_weights(study, table)
    return {
        "format": FORMAT,
        "labels": list(study.labels),
        **({} if study.target == CLASS else {"target": study.target}),
        "max_length": study.model.max_length,
        **({} if study.model.subwords == "first" else {"subwords": study.model.subwords}),
        "loss": study.loss.example_settings,
        "class_weights": None if weights is None else [float(weight) for weight in weights],
        "weight_decay": study.weight_decay,
        "weight_decay_kind": study.loss.weight_decay_kind,
        "training": collect_training_options(study),
        "base": base,
        "rows": len(table),
        "table": table.digest,
    }


def collect_training_options(study: Study) -> dict[str, Any]:
    """Return the settings of `[training]` that determine the weights, without base and decay."""
    assert study.training is not None
    settings = study.training.weight_settings
    return {key: value for key, value in settings.items() if key != "weight_decay"}


def make_content_table(study: Study, table: Table) -> pl.DataFrame:
    """Return the content digest (without the label) and the label's name of each row."""
    pairs = table.text_pairs or [None] * len(table)
    rows = zip(table.texts, pairs, strict=True)
    content = [hashlib.sha256(json.dumps(row).encode()).digest()[:16] for row in rows]
    labels = table.name_targets(study.labels)
    return pl.DataFrame({"content": content, "label": labels}, schema=SCHEMA)


def read_record(folder: Path) -> TrainingRecord | None:
    """Read the training record of a model; None if there is none."""
    path = folder / RECORD_FILE
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # a file of boosted trees has no record
        return None
    except (OSError, ValueError) as error:
        return TrainingRecord(folder, {}, damage=f"{RECORD_FILE} cannot be read: {error}")
    study = entries.get("study") if isinstance(entries, dict) else None
    if not isinstance(entries, dict) or not isinstance(study, dict | None):
        return TrainingRecord(folder, {}, damage=f"{RECORD_FILE} is not a training record")
    if study is None:
        return TrainingRecord(folder, entries)
    if study.get("format") != FORMAT:
        damage = f"{RECORD_FILE} has format {study.get('format')}; this version reads {FORMAT}"
        return TrainingRecord(folder, {}, damage=damage)
    missing = sorted(SETTINGS_KEYS - study.keys())
    if missing:
        return TrainingRecord(folder, {}, damage=f"{RECORD_FILE} lacks {', '.join(missing)}")
    return _attach_rows(TrainingRecord(folder, entries))


SETTINGS_KEYS = {
    "labels", "max_length", "loss", "class_weights", "weight_decay", "weight_decay_kind",
    "training", "base", "rows", "table",
}  # fmt: skip


def _attach_rows(record: TrainingRecord) -> TrainingRecord:
    try:
        rows = pl.read_parquet(record.folder / TRAINING_ROWS_FILE)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        damage = f"{TRAINING_ROWS_FILE} cannot be read: {str(error).splitlines()[0]}"
        return TrainingRecord(record.folder, record.entries, damage=damage)
    if rows.schema != pl.Schema(SCHEMA) or len(rows) != record.entries["study"]["rows"]:
        return TrainingRecord(
            record.folder, record.entries, damage=f"{TRAINING_ROWS_FILE} does not match the record"
        )
    return TrainingRecord(record.folder, record.entries, rows)
