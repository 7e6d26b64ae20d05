"""Annotations of reviewers in the store, by the content of rows, and their merged state."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from storage import Store, StoreError, polars_schema
from storage.mislabel_schemas import VERDICTS
from storage.parquet import write_table
from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digests, map_legacy_digests, row_digest
from tasks.mislabels.merged_annotations import Annotation, Annotations, merge_annotations
from tasks.mislabels.stored_samples import read_samples
from tasks.run.sequence import find_next_number, read_numbered_records, sort_key
from tasks.study.target_kind import CLASS

KIND, RECORD = "verdicts", "import.json"
NUMBER, WHEN = "import_number", "import_time"
"""Columns of number and time of the import, while annotations are merged."""
RENAME_SHARE = 0.9
"""Minimum fraction of the rows of a missing label that have one new label, for a renamed label."""


def read_annotations(
    store: Store | None,
    table: Table | None = None,
    labels: Sequence[str] = (),
    target: str = CLASS,
) -> Annotations:
    """Read and merge all annotations of a store; a reviewer's last import on a row counts.

    Args:
        store: Store of the study; None if there is none yet.
        table: Current training rows, by which annotations of earlier versions are located and
            renamed labels are detected; None leaves such annotations as they are.
        labels: Label names of the study.
        target: Kind of the targets; ordered classes are classes here.
    """
    records = [] if store is None else read_numbered_records(store, KIND, RECORD)
    imports = [entry for entry in records if entry[1].get("target", CLASS) == target]
    if not imports:
        return Annotations(samples=read_samples(store, target))
    # Files of earlier versions lack the columns of random samples.
    frames = [
        _add_content_column(pl.read_parquet(folder / f"{KIND}.parquet"), record)
        for folder, record in imports
    ]
    frame = pl.concat(frames, how="diagonal")
    samples = read_samples(store, target)
    new_names = {}
    if table is not None:
        frame = _fill_legacy_contents(frame, table, labels)
        rows = set(frame.select("content", "label").iter_rows())
        populations = (sample.population.select("content", "label") for sample in samples)
        rows |= {row for population in populations for row in population.iter_rows()}
        old_labels = {label for _, record in imports for label in record.get("labels", [])}
        old_labels |= {label for label in frame["right_label"] if label is not None}
        new_names = _find_renamed_labels(
            rows, old_labels | {label for _, label in rows}, table, labels
        )
    samples = [sample.rename_labels(new_names) for sample in samples]
    return merge_annotations(_parse_annotations(frame, new_names), samples, new_names, labels)


def write_annotations(
    store: Store,
    frame: pl.DataFrame,
    labels: Sequence[str],
    file: str,
    when: str,
    target: str = CLASS,
) -> None:
    """Write annotations as one import.

    Args:
        store: Store of the study.
        frame: Rows of `storage.mislabel_schemas.VERDICTS`.
        labels: Label names of the study.
        file: Name of the review file.
        when: ISO time of the import, for display; imports are ordered by number.
        target: Kind of the targets.
    """
    number = find_next_number(record for _, record in read_numbered_records(store, KIND, RECORD))
    record = {"number": number, "when": when, "file": file, "rows": len(frame)}
    record |= {"labels": list(labels)}  # row digests contain label names
    record |= {} if target == CLASS else {"target": target}

    def write(folder: Path) -> None:
        write_table(folder, KIND, frame)
        (folder / RECORD).write_text(json.dumps(record) + "\n")

    rows = frame.select("row", "reviewer", "right_label").iter_rows()
    content = json.dumps([number, when, sorted((row.hex(), *rest) for row, *rest in rows)],
                         default=str)  # fmt: skip
    store.write_artifact(KIND, hashlib.sha256(content.encode()).hexdigest(), write)


def _add_content_column(frame: pl.DataFrame, record: Mapping[str, object]) -> pl.DataFrame:
    """Add missing columns, and number and time of the import.

    `content` is null for imports with row digests of an earlier version.
    """
    missing = {
        name: pl.lit(None, dtype)
        for name, dtype in polars_schema(VERDICTS).items()
        if name not in frame
    }
    number, when = sort_key(record)
    origin = {NUMBER: pl.lit(number, pl.Int64), WHEN: pl.lit(when, pl.String)}
    frame = frame.with_columns(**missing, **origin)
    if "labels" not in record:
        return frame.with_columns(content=pl.lit(None, pl.Binary))
    return frame


def _fill_legacy_contents(frame: pl.DataFrame, table: Table, labels: Sequence[str]) -> pl.DataFrame:
    """Fill in `content` for annotations of an earlier version whose rows are in the table."""
    if not frame["content"].null_count():
        return frame
    legacy = map_legacy_digests(table, labels)
    rows = frame.select("content", "row", "label").iter_rows()
    contents = [content or legacy.get((row, label)) for content, row, label in rows]
    return frame.with_columns(content=pl.Series(contents, dtype=pl.Binary))


def _find_renamed_labels(
    rows: set[tuple[bytes | None, str]], old_labels: set[str], table: Table, labels: Sequence[str]
) -> dict[str, str]:
    """Return new names of missing labels, where nearly all of their rows have one new label.

    Args:
        rows: Text digests with the label of each row at the time of its annotation.
        old_labels: Labels at the time of the annotations.
        table: Current training rows.
        labels: Label names of the study.
    """
    if old_labels <= set(labels):
        return {}
    label_by_content = dict(
        zip(content_digests(table), (labels[i] for i in table.labels), strict=True)
    )
    names = {}
    for old in sorted(old_labels - set(labels)):
        counts = Counter(
            label_by_content[row] for row, label in rows if label == old and row in label_by_content
        )
        if not counts:
            continue
        new, count = counts.most_common(1)[0]
        if (
            new not in old_labels
            and count >= RENAME_SHARE * counts.total()
            and new not in names.values()
        ):
            names[old] = new
    return names


def _parse_annotations(frame: pl.DataFrame, names: Mapping[str, str]) -> list[Annotation]:
    annotations = []
    for row in frame.iter_rows(named=True):
        label, right = (names.get(row[name], row[name]) for name in ("label", "right_label"))
        digest = row["row"] if row["content"] is None else row_digest(row["content"], label)
        audited = bool(row["drawn"])
        place = digest, row["content"], label, right, row["reviewer"], row["probability"]
        copied = bool(row["copied"])
        annotations.append(Annotation(*place, audited, row[NUMBER], row[WHEN], copied))
    return annotations


def make_no_mislabels_error(store: Store) -> StoreError:
    """Return the error of a store without a mislabel detection."""
    return StoreError(
        store.layout.root,
        expected="a table of mislabels",
        got="none",
        remedy="Run `fastif mislabels` first.",
    )
