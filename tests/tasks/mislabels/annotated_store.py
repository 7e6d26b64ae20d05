"""Store with imported annotations of five rows, and the review files."""

from pathlib import Path
from types import SimpleNamespace

import polars as pl

from storage import Store
from tasks.data.csv_escape import escape_formulas
from tasks.data.dataset import Table
from tasks.data.row_hashes import row_digests
from tasks.mislabels.annotation_import import import_annotations
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import (
    make_review_frame,
    make_sample_frame,
    select_sample,
)
from tasks.mislabels.stored_samples import write_sample

LABELS = ("cat", "dog")
ROWS = [("a", "cats purr", "dog"), ("b", "dogs bark", "dog"), ("c", "=cats, all", "cat"),
        ("d", "a bone", "dog"), ("e", "a mouse", "cat")]  # fmt: skip


def table(rows=ROWS, labels=LABELS) -> Table:
    ids, texts, names = (list(column) for column in zip(*rows, strict=True))
    return Table(ids, texts, None, [labels.index(name) for name in names], {}, "", "here")


def make_detection(rows=ROWS, **columns) -> pl.DataFrame:
    n = len(rows)
    frame = pl.DataFrame(rows, schema=["id", "text", "label"], orient="row")
    plain = {"rank": range(n), "cluster": range(n), "probability": [0.5] * n, "doubt": [0.5] * n,
             "confidence": [0.9] * n, "suggested": ["cat"] * n}  # fmt: skip
    kinds = {"text_pair": pl.lit(None, pl.String), "reviewed": pl.lit(None, pl.String)}
    return frame.with_columns(**kinds, **{
        name: pl.Series(values) for name, values in (plain | columns).items()
    })  # fmt: skip


class World:
    """Store, and imports into it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.count = folder, Store.open(folder / "store", "s"), 0

    def export(self, frame: pl.DataFrame, rights: dict[str, str]) -> Path:
        """Review file of `fastif review export`, filled in by id."""
        right_labels = [rights.get(name) for name in frame["id"]]
        return self.write_file(
            escape_formulas(
                frame.with_columns(right_label=pl.Series(right_labels, dtype=pl.String))
            )
        )

    def write_file(self, frame: pl.DataFrame | str) -> Path:
        self.count += 1
        path = self.folder / f"v{self.count}.csv"
        path.write_text(frame if isinstance(frame, str) else frame.write_csv())
        return path

    def import_file(self, path: Path, rows=ROWS, labels=LABELS, named=True, when="2026-01-01"):
        study = SimpleNamespace(labels=labels, train=SimpleNamespace(id="id" if named else None))
        return import_annotations(
            self.store, study, table(rows, labels), make_detection(rows), path, when
        )

    def read_settled(self, rows=ROWS, labels=LABELS) -> dict[str, str | None]:
        """Agreed right labels by text of the current rows."""
        annotations, today = (
            read_annotations(self.store, table(rows, labels), labels),
            table(rows, labels),
        )
        digests = row_digests(today, labels)
        return {
            text: annotations.agreed[digest]
            for text, digest in zip(today.texts, digests, strict=True)
            if digest in annotations.agreed
        }


def review(rows=ROWS) -> pl.DataFrame:
    return make_review_frame(MislabelResult(make_detection(rows), {}), len(rows))


RIGHTS = {"a": "cat", "b": "dog", "c": "none"}
EXPECTED = {"cats purr": "cat", "dogs bark": "dog", "=cats, all": None}


def sample_for_review(store, result, count, annotations=None):
    """A random audit sample that is recorded in the store, as an export leaves it."""
    sample = select_sample(result, count, annotations)
    write_sample(store, sample.population, sample.rows)
    return make_sample_frame(sample)
