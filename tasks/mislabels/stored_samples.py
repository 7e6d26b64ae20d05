"""Random audit samples in the store: sampled rows and their population."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from storage import Store
from tasks.data.row_hashes import content_digest, row_digest
from tasks.run.sequence import find_next_number, read_numbered_records

KIND, RECORD = "draws", "draw.json"
POPULATION, SELECTED = "population.parquet", "selected.parquet"


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


@dataclass(frozen=True)
class StoredSample:
    """Random audit sample.

    Attributes:
        population: Text digest and given label of every row that was sampled from.
        selected: Sampled rows, in random order.
    """

    population: frozenset[tuple[bytes, str]]
    selected: tuple[SampledRow, ...]

    @cached_property
    def population_digests(self) -> frozenset[bytes]:
        """Row digests of the population."""
        return frozenset(row_digest(content, label) for content, label in self.population)

    @cached_property
    def sampled_rows(self) -> dict[bytes, SampledRow]:
        """Sampled rows by row digest."""
        return {row_digest(row.content, row.label): row for row in self.selected}

    def rename_labels(self, names: Mapping[str, str]) -> "StoredSample":
        """Return this sample with renamed labels."""
        if not names:
            return self
        population = frozenset(
            (content, names.get(label, label)) for content, label in self.population
        )
        selected = (replace(row, label=names.get(row.label, row.label)) for row in self.selected)
        return StoredSample(population, tuple(selected))


def write_sample(store: Store, population: pl.DataFrame, selected: pl.DataFrame) -> None:
    """Record a random audit sample; an identical one is recorded once.

    Args:
        store: Store of the study.
        population: Rows of a table of mislabels that were sampled from.
        selected: Sampled rows of this table.
    """
    population_contents = _make_content_frame(population)
    selected_contents = _make_content_frame(selected).with_columns(
        doubt=selected["doubt"].fill_null(0.0)
    )
    population_lines = [
        f"{content.hex()} {label}" for content, label in population_contents.iter_rows()
    ]
    selected_lines = [
        f"{content.hex()} {label}" for content, label, _ in selected_contents.iter_rows()
    ]
    text = json.dumps([sorted(population_lines), selected_lines])
    earlier = (record for _, record in read_numbered_records(store, KIND, RECORD))
    record = {
        "number": find_next_number(earlier),
        "when": datetime.now(UTC).isoformat(),
        "population": len(population_contents),
        "selected": len(selected_contents),
    }

    def write(folder: Path) -> None:
        population_contents.write_parquet(folder / POPULATION)
        selected_contents.write_parquet(folder / SELECTED)
        (folder / RECORD).write_text(json.dumps(record) + "\n")

    store.write_artifact(KIND, hashlib.sha256(text.encode()).hexdigest(), write)


def read_samples(store: Store | None) -> list[StoredSample]:
    """Read all random audit samples of a store, the oldest first."""
    if store is None:
        return []
    samples = []
    for folder, _ in read_numbered_records(store, KIND, RECORD):
        population = pl.read_parquet(folder / POPULATION).rows()
        selected = pl.read_parquet(folder / SELECTED).rows()
        samples.append(
            StoredSample(frozenset(population), tuple(SampledRow(*row) for row in selected))
        )
    return samples


def _make_content_frame(rows: pl.DataFrame) -> pl.DataFrame:
    texts = rows.select("text", "text_pair").iter_rows()
    contents = [content_digest(text, pair) for text, pair in texts]
    columns = {"content": contents, "label": rows["label"].to_list()}
    return pl.DataFrame(columns, schema={"content": pl.Binary, "label": pl.String})
