"""Import of a reviewer's file: rows matched by content, words checked, good verdicts kept."""

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
YES_OR_NO = "true or false, or a word for them such as WAHR, VRAI, yes, x, 1"


@dataclass(frozen=True)
class ImportResult:
    """What became of a file.

    Attributes:
        rows: how many rows have a verdict by it, those that are alike too.
        refused: rows of the file that were not kept, and why.
        notes: what a person should know of how it was read.
    """

    rows: int
    refused: tuple[Problem, ...]
    notes: tuple[str, ...]


def import_annotations(
    store: Store, study: Study, table: Table, mislabels: pl.DataFrame, path: Path, when: str
) -> ImportResult:
    """Keep what a file says of rows, and of those that are alike.

    Args:
        store: of the study.
        study: names the labels.
        table: training rows as they are now.
        mislabels: the table of mislabels of these rows, which knows what is alike.
        path: a reviewer's file; see `tasks.mislabels.review_files`.
        when: time of the import, for people.

    Raises:
        StudyError: the file cannot be read, has an unknown word for a flag, or no row of it can be
            kept; nothing is kept then.
    """
    review = read_review(path)
    _check_flags(review, path)
    has_ids = getattr(study.train, "id", None) is not None
    samples = read_samples(store)
    index = RowIndex(table, study.labels, has_ids)
    accepted, refused, notes = _match_records(review, index, samples)
    accepted, disagreements = _resolve_reviewers(accepted, study.labels)
    refused = [*review.refused, *refused, *disagreements]
    if not accepted:
        raise StudyError(path, _make_nothing_kept_problems(refused))
    frame = make_annotations_frame(accepted, index, mislabels, samples)
    write_annotations(store, frame, study.labels, path.name, when)
    return ImportResult(len(frame), tuple(refused), (*review.notes, *notes))


def _make_nothing_kept_problems(refused: Sequence[Problem]) -> list[Problem]:
    if refused:
        num_more = len(refused) - MAX_SHOWN
        last = [Problem("file", "rows that can be kept", f"{num_more} more like these", "as above")]
        return [*refused[:MAX_SHOWN], *(last if num_more > 0 else [])]
    change = "write the right label of the rows that you have looked at"
    return [Problem("column right_label", "one label or more", "none", change)]


def _check_flags(review: ReviewFile, path: Path) -> None:
    """A sample whose flag is misread is lost, so that an unknown word refuses the file."""
    unknown = [record for record in review.records if parse_flag(record.drawn) is None]
    if unknown:
        got = join_some((f"{r.place}: {format_value(r.drawn, 20)}" for r in unknown), MAX_SHOWN)
        raise StudyError(path, [Problem("column drawn", YES_OR_NO, got, "correct these rows")])


def _match_records(
    review: ReviewFile, index: RowIndex, samples: Sequence[StoredSample]
) -> tuple[list[ImportedAnnotation], list[Problem], list[str]]:
    """What is kept, what is refused, and notes."""
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
        assert row is not None, "either it is in the table or in a draw"
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
            f"{num_by_id} of {num_accepted} rows are known by their id alone, since the file has "
            "no column "
            "`row` or `text`: if texts were edited or ids used again, these verdicts are wrong"
        )


def _make_flag_notes(
    review: ReviewFile,
    accepted: Sequence[ImportedAnnotation],
    samples: Sequence[StoredSample],
    unsampled: int,
) -> Iterator[str]:
    if unsampled:
        yield (
            f"{unsampled} rows are flagged as drawn, but are in no random sample that this store "
            "has "
            "recorded: they are verdicts, and are not counted by"
        )
    audited = sum(annotation.audited for annotation in accepted)
    if review.flagged:
        return
    if audited:
        reason = "though the column `drawn` is gone or empty"
        yield f"the {audited} rows are those of a random sample, {reason}"
    elif unflagged := sum(
        any(annotation.row in sample.sampled_rows for sample in samples) for annotation in accepted
    ):
        yield (
            f"{unflagged} rows are of a random sample, but the file has no column `drawn`, or an "
            "empty "
            "one: they are verdicts, and are not counted by"
        )


def _is_whole_sample(review: ReviewFile, index: RowIndex, samples: Sequence[StoredSample]) -> bool:
    """Whether the rows of a file are exactly those of a random sample."""
    if not samples:
        return False
    matches = [index.match(record) for record in review.records]
    rows = {match.row for match in matches if not isinstance(match, Problem)}
    return any(rows == set(sample.sampled_rows) for sample in samples)


def _find_removed_row(record: ReviewRecord, samples: Sequence[StoredSample]) -> bytes | None:
    """The digest of a drawn row that is not in the table any more; its verdict still counts."""
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
        f"one of {join_some(map(format_value, labels))}, or {format_value(none)} if none fits"
    )
    return record.make_problem(
        "right_label", expected, format_value(record.right, 40), "correct this row"
    )


def _resolve_reviewers(
    accepted: Sequence[ImportedAnnotation], labels: Sequence[str]
) -> tuple[list[ImportedAnnotation], list[Problem]]:
    """Of one reviewer's on a row the newest annotation; without a newest, those that agree."""
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
            change = "leave one of these rows, or name the reviewers"
            first = group[0].record
            refused.append(
                first.make_problem(
                    "right_label", expected, join_some(right_labels, MAX_SHOWN), change
                )
            )
    return agreed, refused


def _select_newest(annotations: Sequence[ImportedAnnotation]) -> Sequence[ImportedAnnotation]:
    """Those of the latest time; all where the time of one is not known."""
    times = [parse_time(annotation.record.when) for annotation in annotations]
    known_times = [time for time in times if time is not None]
    if len(known_times) < len(annotations):
        return annotations
    return [
        annotation
        for annotation, time in zip(annotations, known_times, strict=True)
        if time == max(known_times)
    ]
