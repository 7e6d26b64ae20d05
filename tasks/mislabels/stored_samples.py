"""Random audit samples in the store: sampled rows, their population, and its sampling design."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from storage import Store
from tasks.data.row_hashes import row_digest
from tasks.mislabels.group_counts import list_group_columns
from tasks.run.sequence import find_next_number, read_numbered_records
from tasks.study.target_kind import CLASS

KIND, RECORD = "draws", "draw.json"
POPULATION, SELECTED = "population.parquet", "selected.parquet"
DESIGN = {"copies": pl.UInt32, "stratum": pl.UInt32, "size": pl.Float64, "doubt": pl.Float64}
"""Columns of the sampling design in the population."""
UNKNOWN_ERROR = 0.5
"""Error probability of a row without one, and of all rows of a simple random sample."""


@dataclass(frozen=True)
class SampledRow:
    """Row of a random audit sample.

    Attributes:
        content: Digest of the row's texts.
        label: Given label at the time of sampling.
        prior_error: Error probability of this label, before reviews.
    """

    content: bytes
    label: str
    prior_error: float


@dataclass(frozen=True, eq=False)
class StoredSample:
    """Random audit sample.

    Attributes:
        population: Rows that were sampled from, one for each text and label: `content` (digest of
            the texts), `label`, `DESIGN`, and group columns.
        selected: Sampled rows, in the order of the draws.
    """

    population: pl.DataFrame
    selected: tuple[SampledRow, ...]

    @cached_property
    def population_digests(self) -> Mapping[bytes, int]:
        """Row digests of the population, with the position of each."""
        rows = self.population.select("content", "label").iter_rows()
        return {row_digest(*row): position for position, row in enumerate(rows)}

    @cached_property
    def sampled_rows(self) -> dict[bytes, SampledRow]:
        """Sampled rows by row digest, in the order of their first draw."""
        return {row_digest(row.content, row.label): row for row in self.selected}

    @property
    def design(self) -> str:
        """Digest of the sampling design."""
        lines = sorted(f"{row}" for row in self.population.select("content", *DESIGN).iter_rows())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def rename_labels(self, names: Mapping[str, str]) -> "StoredSample":
        """Return this sample with renamed labels."""
        if not names:
            return self
        population = self.population.with_columns(pl.col("label").replace(names))
        selected = (replace(row, label=names.get(row.label, row.label)) for row in self.selected)
        return StoredSample(population, tuple(selected))


def write_sample(
    store: Store, population: pl.DataFrame, selected: pl.DataFrame, target: str = CLASS
) -> None:
    """Record a random audit sample; an identical one is recorded once.

    Args:
        store: Store of the study.
        population: Rows that were sampled from: the columns of `StoredSample.population`.
        selected: Sampled rows of it in the order of the draws, with the `chance` of each draw.
        target: Kind of the targets.
    """
    columns = ["content", "label", *DESIGN, *list_group_columns(population)]
    population_rows = population.select(columns)
    selected_rows = selected.select("content", "label", "doubt", "chance")
    lines = [f"{row}" for row in population_rows.iter_rows()]
    order = [f"{row}" for row in selected_rows.iter_rows()]
    text = json.dumps([sorted(lines), order])
    earlier = (record for _, record in read_numbered_records(store, KIND, RECORD))
    record = {
        "number": find_next_number(earlier),
        "when": datetime.now(UTC).isoformat(),
        "population": len(population_rows),
        "selected": len(selected_rows),
        **({} if target == CLASS else {"target": target}),
    }

    def write(folder: Path) -> None:
        population_rows.write_parquet(folder / POPULATION)
        selected_rows.write_parquet(folder / SELECTED)
        (folder / RECORD).write_text(json.dumps(record) + "\n")

    store.write_artifact(KIND, hashlib.sha256(text.encode()).hexdigest(), write)


def read_samples(store: Store | None, target: str = CLASS) -> list[StoredSample]:
    """Read all random audit samples of a store, the oldest first.

    Samples of earlier versions are simple random samples: their rows have equal sizes.

    Args:
        store: Store of the study; None if there is none yet.
        target: Kind of the targets.
    """
    if store is None:
        return []
    samples = []
    for folder, record in read_numbered_records(store, KIND, RECORD):
        if record.get("target", CLASS) != target:
            continue
        population = pl.read_parquet(folder / POPULATION)
        selected = pl.read_parquet(folder / SELECTED).select("content", "label", "doubt").rows()
        if "size" not in population.columns:
            population = make_simple_design(population)
        samples.append(StoredSample(population, tuple(SampledRow(*row) for row in selected)))
    return samples


def make_simple_design(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the population of a simple random sample, one row for each text and label.

    Args:
        rows: Rows with `content` and `label`.
    """
    counted = rows.group_by("content", "label", maintain_order=True).agg(copies=pl.len())
    design = {"stratum": pl.lit(0), "size": pl.lit(1.0), "doubt": pl.lit(UNKNOWN_ERROR)}
    return counted.with_columns(**design).with_columns(
        pl.col(name).cast(kind) for name, kind in DESIGN.items()
    )
