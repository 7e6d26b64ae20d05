"""Import of a review file: rows matched by content, labels and flags parsed, annotations stored."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage import Store
from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.annotation_rows import ImportedAnnotation, make_annotations_frame
from tasks.mislabels.annotations import write_annotations
from tasks.mislabels.label_words import (
    choose_none_word,
    normalize_word,
    parse_flag,
    parse_label,
)
from tasks.mislabels.review_files import read_review
from tasks.mislabels.review_records import ReviewFile, ReviewRecord, parse_time
from tasks.mislabels.row_index import RowIndex, strip_export_marks
from tasks.mislabels.stored_samples import StoredSample, read_samples
from tasks.study.errors import (
    Problem,
    StudyError,
    format_value,
    join_some,
)
from tasks.study.study import Study

MAX_SHOWN = 5
YES_OR_NO = "true or false (also WAHR, VRAI, yes, x, 1, and the like)"


@dataclass(frozen=True)
class ImportResult:
    """Outcome of the import of a review file.

    Attributes:
        rows: Number of rows with a stored annotation, near-duplicates included.
        refused: Records that were not stored, with the reason.
        notes: Notes on the parsing of the file, for the reader.
    """

    rows: int
    refused: tuple[Problem, ...]
    notes: tuple[str, ...]


def import_annotations(
    store: Store, study: Study, table: Table, mislabels: pl.DataFrame, path: Path, when: str
) -> ImportResult:
    """Store the annotations of a review file, for its rows and their near-duplicates.

    Args:
        store: Store of the study.
        study: Study, for its label names.
        table: Current training rows.
        mislabels: Table of a mislabel detection of these rows, for the clusters of near-duplicates.
        path: Review file; see `tasks.mislabels.review_files`.
        when: ISO time of the import, for display.

    Raises:
        StudyError: The file cannot be read, has an unknown flag, or contains no valid annotation;
            nothing is stored then.
    """
    review = read_review(path)
    _check_flags(review, path)
    has_ids = getattr(study.train, "id", None) is not None
    samples = read_samples(store)
    index = RowIndex(table, study.labels, has_ids)
    accepted, refused, notes = _match_records(review, index, samples)
    accepted, disagreements = resolve_reviewers(accepted, study.labels)
    refused = [*review.refused, *refused, *disagreements]
    if not accepted:
        raise StudyError(path, make_nothing_kept_problems(refused))
    frame = make_annotations_frame(accepted, index, mislabels, samples)
    write_annotations(store, frame, study.labels, path.name, when)
    return ImportResult(len(frame), tuple(refused), (*review.notes, *notes))


def make_nothing_kept_problems(refused: Sequence[Problem]) -> list[Problem]:
    """Return the problems of a file without a valid annotation."""
    if refused:
        num_more = len(refused) - MAX_SHOWN
        last = [Problem("file", "valid rows", f"{num_more} more refused rows", "as above")]
        return [*refused[:MAX_SHOWN], *(last if num_more > 0 else [])]
    change = "enter the right label of the rows that you have reviewed"
    return [Problem("column right_label", "one label or more", "none", change)]


def _check_flags(review: ReviewFile, path: Path) -> None:
    """Refuse a file with an unknown flag, since a misread flag would lose a sampled row."""
    unknown = [record for record in review.records if parse_flag(record.drawn) is None]
    if unknown:
        got = join_some((f"{r.place}: {format_value(r.drawn, 20)}" for r in unknown), MAX_SHOWN)
        raise StudyError(path, [Problem("column drawn", YES_OR_NO, got, "correct these rows")])


def _match_records(
    review: ReviewFile, index: RowIndex, samples: Sequence[StoredSample]
) -> tuple[list[ImportedAnnotation], list[Problem], list[str]]:
    """Return the accepted annotations, the refused records, and notes."""
    accepted: list[ImportedAnnotation] = []
    refused: list[Problem] = []
    num_by_id, unsampled = 0, 0
    is_whole_sample = not review.flagged and _is_whole_sample(review, index, samples)
    for record in review.records:
        if record.right is None:
            continue
        right = parse_label(record.right, index.labels)
        if right is None:
            refused.append(_make_unknown_label_problem(record, index.labels))
            continue
        match = index.match(record)
        removed_row = _find_removed_row(record, samples) if isinstance(match, Problem) else None
        if isinstance(match, Problem) and removed_row is None:
            refused.append(match)
            continue
        row = removed_row if isinstance(match, Problem) else match.row
        assert row is not None, "the row is in the table or in a stored sample"
        num_by_id += not isinstance(match, Problem) and match.how == "id"
        flagged = bool(parse_flag(record.drawn)) or is_whole_sample
        audited = flagged and any(row in sample.sampled_rows for sample in samples)
        unsampled += flagged and not audited
        right = None if right == choose_none_word(index.labels) else right
        accepted.append(ImportedAnnotation(record, row, right, audited))
    notes = [
        *_make_id_notes(num_by_id, len(accepted)),
        *_make_flag_notes(review, accepted, samples, unsampled),
    ]
    return accepted, refused, notes


def _make_id_notes(num_by_id: int, num_accepted: int) -> Iterator[str]:
    if num_by_id:
        yield (
            f"rows matched by id alone: {num_by_id} of {num_accepted}, since the file has no "
            "column `row` or `text`. Their annotations are wrong if a text was edited or an id "
            "reused"
        )


def _make_flag_notes(
    review: ReviewFile,
    accepted: Sequence[ImportedAnnotation],
    samples: Sequence[StoredSample],
    unsampled: int,
) -> Iterator[str]:
    if unsampled:
        yield (
            f"rows with the flag `drawn` in no random audit sample of this store: {unsampled}. "
            "Their annotations are stored, but do not count for the estimate of wrong labels"
        )
    audited = sum(annotation.audited for annotation in accepted)
    if review.flagged:
        return
    if audited:
        reason = "although the column `drawn` is missing or empty"
        yield f"rows recognized as a random audit sample: {audited}, {reason}"
    elif unflagged := sum(
        any(annotation.row in sample.sampled_rows for sample in samples) for annotation in accepted
    ):
        yield (
            f"rows of a random audit sample without the flag `drawn`: {unflagged}. "
            "Their annotations are stored, but do not count for the estimate of wrong labels"
        )


def _is_whole_sample(review: ReviewFile, index: RowIndex, samples: Sequence[StoredSample]) -> bool:
    """Whether the rows of a file are exactly those of one random sample."""
    if not samples:
        return False
    matches = [index.match(record) for record in review.records]
    rows = {match.row for match in matches if not isinstance(match, Problem)}
    return any(rows == set(sample.sampled_rows) for sample in samples)


def _find_removed_row(record: ReviewRecord, samples: Sequence[StoredSample]) -> bytes | None:
    """Digest of a sampled row that was removed from the table; its annotation still counts."""
    if record.row is None or not parse_flag(record.drawn):
        return None
    try:
        row = bytes.fromhex(record.row)
    except ValueError:
        return None
    sampled_row = next(
        (sample.sampled_rows[row] for sample in samples if row in sample.sampled_rows), None
    )
    if sampled_row is None or record.texts is None:
        return None
    texts = (record.texts, strip_export_marks(record.texts))
    contents = (content_digest(first, second or None) for first, second in texts)
    return (
        row if any(row_digest(content, sampled_row.label) == row for content in contents) else None
    )


def _make_unknown_label_problem(record: ReviewRecord, labels: Sequence[str]) -> Problem:
    none = choose_none_word(labels)
    expected = (
        f"one of {join_some(map(format_value, labels))}, or {format_value(none)} if no label fits"
    )
    return record.make_problem(
        "right_label", expected, format_value(record.right, 40), "correct this row"
    )


def resolve_reviewers(
    accepted: Sequence[ImportedAnnotation], labels: Sequence[str]
) -> tuple[list[ImportedAnnotation], list[Problem]]:
    """Keep the newest annotation of each reviewer on a row; without times, those that agree."""
    by_reviewer: dict[tuple[bytes, str], list[ImportedAnnotation]] = defaultdict(list)
    for annotation in accepted:
        by_reviewer[annotation.row, normalize_word(annotation.record.reviewer)].append(annotation)
    agreed: list[ImportedAnnotation] = []
    refused: list[Problem] = []
    for group in map(_select_newest, by_reviewer.values()):
        if len({annotation.right for annotation in group}) == 1:
            agreed.append(group[0])
        else:
            right_labels = (
                f"{annotation.record.place}: "
                f"{format_value(annotation.right or choose_none_word(labels))}"
                for annotation in group
            )
            expected = f"one right label by {group[0].record.reviewer or 'one reviewer'}"
            change = "keep one of these rows, or fill in the column `reviewer`"
            first = group[0].record
            refused.append(
                first.make_problem(
                    "right_label", expected, join_some(right_labels, MAX_SHOWN), change
                )
            )
    return agreed, refused


def _select_newest(annotations: Sequence[ImportedAnnotation]) -> Sequence[ImportedAnnotation]:
    """Return the annotations of the latest time; all of them if a time is missing."""
    times = [parse_time(annotation.record.when) for annotation in annotations]
    known_times = [time for time in times if time is not None]
    if len(known_times) < len(annotations):
        return annotations
    return [
        annotation
        for annotation, time in zip(annotations, known_times, strict=True)
        if time == max(known_times)
    ]
