"""Training dynamics beside the model of `fastif train`, found again by the digests of rows."""

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
    """Keep what training found of each row of a table."""
    rows = {"row": row_digests(table, labels), "margin": margins.tolist()}
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(folder / DYNAMICS_FILE)


def compute_dynamics_digest(study: Study) -> str | None:
    """Names what a study's training has found; None where nothing is kept."""
    path = _find_file(study)
    return None if path is None else sha256_file(path)


def read_dynamics(study: Study, table: Table) -> list[float | None]:
    """Margin of each row by its digest; None for rows that the training has not seen.

    Rows that are alike have the mean of theirs. Models of before name rows by label positions.
    """
    path = _find_file(study)
    if path is None:
        return [None] * len(table)
    means = pl.read_parquet(path).group_by("row").agg(pl.col("margin").mean())
    margins = dict(means.iter_rows())
    both = zip(row_digests(table, study.labels), legacy_row_digests(table), strict=True)
    return [margins.get(row, margins.get(legacy_row)) for row, legacy_row in both]


def _find_file(study: Study) -> Path | None:
    if not study.has_audit:
        return None
    try:
        path = find_model_folder(study) / DYNAMICS_FILE
    except InputError:
        return None  # it is not trained yet, and the search needs no model of its own
    return path if path.is_file() else None
