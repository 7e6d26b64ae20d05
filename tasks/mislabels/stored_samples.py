"""Random samples of rows: what was drawn, and from which rows, kept in the store."""

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
from tasks.run.sequence import next_number, numbered

KIND, RECORD = "draws", "draw.json"
POPULATION, SELECTED = "population.parquet", "selected.parquet"


@dataclass(frozen=True)
class Selected:
    """A row of a random sample.

    Attributes:
        content: digest of its texts.
        label: given when it was drawn.
        doubt: probability that this label is wrong, made without a verdict.
    """

    content: bytes
    label: str
    doubt: float


@dataclass(frozen=True)
class Draw:
    """A random sample.

    Attributes:
        population: digests of the texts of all rows that it was drawn from, with the label of each.
        selected: rows that were drawn, in the order of the draw.
    """

    population: frozenset[tuple[bytes, str]]
    selected: tuple[Selected, ...]

    @cached_property
    def rows(self) -> frozenset[bytes]:
        """Row digests of the population."""
        return frozenset(row_digest(content, label) for content, label in self.population)

    @cached_property
    def drawn(self) -> dict[bytes, Selected]:
        """The sample by row digest."""
        return {row_digest(row.content, row.label): row for row in self.selected}

    def renamed(self, names: Mapping[str, str]) -> "Draw":
        """The same, labels having other names since."""
        if not names:
            return self
        population = frozenset((row, names.get(label, label)) for row, label in self.population)
        selected = (replace(row, label=names.get(row.label, row.label)) for row in self.selected)
        return Draw(population, tuple(selected))


def write_draw(store: Store, population: pl.DataFrame, selected: pl.DataFrame) -> None:
    """Record a random sample; one of the same rows from the same rows is recorded once.

    Args:
        store: of the study.
        population: the rows of a table of mislabels that it is drawn from.
        selected: those that are drawn.
    """
    every = _contents(population)
    rows = _contents(selected).with_columns(doubt=selected["doubt"].fill_null(0.0))
    named = [f"{content.hex()} {label}" for content, label in every.iter_rows()]
    drawn = [f"{content.hex()} {label}" for content, label, _ in rows.iter_rows()]
    text = json.dumps([sorted(named), drawn])
    earlier = (record for _, record in numbered(store, KIND, RECORD))
    record = {
        "number": next_number(earlier),
        "when": datetime.now(UTC).isoformat(),
        "population": len(every),
        "selected": len(rows),
    }

    def write(folder: Path) -> None:
        every.write_parquet(folder / POPULATION)
        rows.write_parquet(folder / SELECTED)
        (folder / RECORD).write_text(json.dumps(record) + "\n")

    store.write_part(KIND, hashlib.sha256(text.encode()).hexdigest(), write)


def read_draws(store: Store | None) -> list[Draw]:
    """All random samples of a store, the first drawn first."""
    if store is None:
        return []
    draws = []
    for folder, _ in numbered(store, KIND, RECORD):
        population = pl.read_parquet(folder / POPULATION).rows()
        selected = pl.read_parquet(folder / SELECTED).rows()
        draws.append(Draw(frozenset(population), tuple(Selected(*row) for row in selected)))
    return draws


def _contents(rows: pl.DataFrame) -> pl.DataFrame:
    texts = rows.select("text", "text_pair").iter_rows()
    contents = [content_digest(text, pair) for text, pair in texts]
    columns = {"content": contents, "label": rows["label"].to_list()}
    return pl.DataFrame(columns, schema={"content": pl.Binary, "label": pl.String})
