"""Training dynamics recorded by `fastif train`: the mean logit margin of each row."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from torch import Tensor

from fastif import InputError
from storage.run_record import sha256_file
from tasks.data.dataset import Table
from tasks.data.row_hashes import legacy_row_digests, row_digests
from tasks.models.locate import find_model_folder
from tasks.study.study import Study

DYNAMICS_FILE = "fastif-dynamics.parquet"
SCHEMA = {"row": pl.Binary, "margin": pl.Float32}


def write_dynamics(folder: Path, table: Table, labels: Sequence[str], margins: Tensor) -> None:
    """Write the margin of each row of a table, by the digest of its content and label."""
    rows = {"row": row_digests(table, labels), "margin": margins.tolist()}
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(folder / DYNAMICS_FILE)


def compute_dynamics_digest(study: Study) -> str | None:
    """Return the digest of a study's training dynamics; None if there are none."""
    path = _find_file(study)
    return None if path is None else sha256_file(path)


def read_dynamics(study: Study, table: Table) -> list[float | None]:
    """Return the recorded margin of each row; None for rows that were not in the training.

    Equal rows have the mean of their margins. Models of older versions identify labels by position.
    """
    path = _find_file(study)
    if path is None:
        return [None] * len(table)
    means = pl.read_parquet(path).group_by("row").agg(pl.col("margin").mean())
    margins = dict(means.iter_rows())
    both = zip(row_digests(table, study.labels), legacy_row_digests(table), strict=True)
    return [margins.get(row, margins.get(legacy_row)) for row, legacy_row in both]


def _find_file(study: Study) -> Path | None:
    if not study.has_audit or study.has_trees:
        return None
    try:
        path = find_model_folder(study) / DYNAMICS_FILE
    except InputError:
        return None  # not trained yet; the label-error search works without it
    return path if path.is_file() else None
