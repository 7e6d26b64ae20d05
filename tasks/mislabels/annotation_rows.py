"""Annotation rows for the store: one a reviewed row and reviewer, and one a near-duplicate."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from storage import polars_schema
from storage.mislabel_schemas import VERDICTS
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.label_words import (
    normalize_word,
)
from tasks.mislabels.review_records import ReviewRecord
from tasks.mislabels.row_index import RowIndex
from tasks.mislabels.stored_samples import StoredSample


@dataclass(frozen=True)
class ImportedAnnotation:
    """Accepted record of a review file, with its row and right label.

    Attributes:
        record: Record of the file.
        row: Digest of the row's texts and given label.
        right: Right label; None where no label fits.
        audited: Whether the row is in a random audit sample.
    """

    record: ReviewRecord
    row: bytes
    right: str | None
    audited: bool


def make_annotations_frame(
    accepted: Sequence[ImportedAnnotation],
    index: RowIndex,
    mislabels: pl.DataFrame,
    samples: Sequence[StoredSample],
) -> pl.DataFrame:
    """Return annotation rows for reviewed rows and their near-duplicates."""
    rows = mislabels.select("text", "text_pair", "label").iter_rows()
    digests = [row_digest(content_digest(a, b), label) for a, b, label in rows]
    cluster = dict(zip(digests, mislabels["cluster"], strict=True))
    probability = dict(zip(digests, mislabels["probability"], strict=True))
    # Tables of earlier versions have no column `doubt`.
    prior_errors = mislabels["doubt"].fill_null(mislabels["probability"])
    prior_error = dict(zip(digests, prior_errors, strict=True))
    cluster_rows: dict[int, list[bytes]] = defaultdict(list)
    for digest, number in cluster.items():
        cluster_rows[number].append(digest)
    records: dict[tuple[bytes, str], dict] = {}
    from_duplicates: dict[tuple[bytes, str], list[ImportedAnnotation]] = defaultdict(list)
    for annotation in accepted:
        key = annotation.row, normalize_word(annotation.record.reviewer)
        records[key] = _make_annotation_row(annotation, annotation.row, index, samples) | {
            "drawn": annotation.audited,
            "copied": False,
        }
        for member in cluster_rows[cluster[annotation.row]] if annotation.row in cluster else []:
            from_duplicates[member, key[1]].append(annotation)
    for key, group in from_duplicates.items():
        # An annotation of the row itself has precedence over those of its near-duplicates.
        is_unreviewed = key not in records and key[0] in index.by_digest
        if is_unreviewed and len({annotation.right for annotation in group}) == 1:
            record = _make_annotation_row(group[0], key[0], index, samples)
            records[key] = record | {"drawn": False, "copied": True}
    for (row, _), record in records.items():
        record |= {"probability": probability.get(row), "doubt": prior_error.get(row)}
    return pl.DataFrame(list(records.values()), schema=polars_schema(VERDICTS))


def _make_annotation_row(
    annotation: ImportedAnnotation, row: bytes, index: RowIndex, samples: Sequence[StoredSample]
) -> dict:
    record = annotation.record
    if row in index.by_digest:
        position = index.by_digest[row][0]
        label, name = index.labels[index.table.labels[position]], index.table.ids[position]
        pair = index.table.text_pairs[position] if index.table.text_pairs else None
        content = content_digest(index.table.texts[position], pair)
    else:
        sampled_rows: Mapping = {
            digest: sampled_row
            for sample in samples
            for digest, sampled_row in sample.sampled_rows.items()
        }
        label, name, content = sampled_rows[row].label, record.id or "", sampled_rows[row].content
    reviewer = " ".join(record.reviewer.split())
    return {
        "row": row, "content": content, "id": name, "label": label, "right_label": annotation.right,
        "reviewer": reviewer,
    }  # fmt: skip
