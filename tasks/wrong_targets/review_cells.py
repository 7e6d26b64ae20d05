"""Export of doubtful targets for human review, and import of the annotations, cell by cell."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store, polars_schema
from storage.mislabel_schemas import VERDICTS
from tasks.data.csv_escape import unescape_formula
from tasks.data.read_targets import FALSE, TRUE
from tasks.mislabels.annotation_import import (
    ImportResult,
    make_nothing_kept_problems,
    resolve_reviewers,
)
from tasks.mislabels.annotation_rows import ImportedAnnotation
from tasks.mislabels.annotations import write_annotations
from tasks.mislabels.group_counts import PREFIX
from tasks.mislabels.label_words import parse_flag
from tasks.mislabels.review_export import check_new_file, write_review
from tasks.mislabels.review_files import read_review
from tasks.mislabels.review_records import ReviewRecord
from tasks.mislabels.sample_design import sample_rows
from tasks.mislabels.stored_samples import SampledRow, read_samples, write_sample
from tasks.runtime.writable_path import check_outside
from tasks.study.errors import Problem, StudyError
from tasks.study.errors import format_value as quote
from tasks.study.study import Study
from tasks.study.target_kind import MULTI_LABEL
from tasks.wrong_targets.cells import format_value
from tasks.wrong_targets.search import LABEL_GROUP
from tasks.wrong_targets.search_notes import LEAST_SCORE
from tasks.wrong_targets.stored_searches import TargetSearch, read_current_search
from tasks.wrong_targets.target_plan import TargetPlan

EVIDENCE = ("suggested", "low", "high", "score", "strength")
"""Columns of evidence, which a random audit sample does not have: reviewers would follow them."""


@dataclass(frozen=True)
class CellExport:
    """Outcome of an export.

    Attributes:
        cells: Number of targets written.
        left_out: Number of targets within the budget with hardly any evidence against them.
    """

    cells: int
    left_out: int = 0


def export_cells(
    plan: TargetPlan, store: Store, path: Path, budget: int | None, random: int | None
) -> CellExport:
    """Export doubtful targets, or a random audit sample of all targets, as a new file.

    Args:
        plan: Input of the search.
        store: Store of the study.
        path: Output file, .csv or .parquet, outside the store.
        budget: Number of targets; None exports up to `[mislabels] budget` doubtful ones.
        random: Size of a random audit sample; None exports the most suspicious targets.

    Raises:
        InputError: The file exists or has an unknown suffix, or nothing is left to review.
        StoreError: The store has no search of the current training rows.
    """
    search = read_current_search(store, plan.cells)
    check_new_file(path)
    if path.suffix == ".json":
        expected, got = "a file name with .csv or .parquet", ".json, of tasks of one class a row"
        remedy = "Choose one of these formats."
        raise InputError(f"--out {path}", expected, got, remedy)
    check_outside(store.layout.root, path)
    cells = _select_unreviewed(plan, search)
    _check_any(cells, "annotations of every target", "Nothing is left to review.")
    if random:
        target = plan.study.target
        sample = sample_rows(
            cells.rename({"value": "label"}).with_columns(
                pl.col("name").alias(f"{PREFIX}{LABEL_GROUP}")
            ),
            random,
        )
        frame = _make_file(plan, sample.rows, True)
        written = write_review(
            frame, path, lambda: write_sample(store, sample.population, sample.rows, target)
        )
        return CellExport(written)
    cells = cells.filter(pl.col("informed")).sort("rank")
    got = "none that the features predict better than chance"
    _check_any(cells, got, "Use other features, or review a random sample: --random 100.")
    distinct = cells.unique("row", keep="first", maintain_order=True)
    limit = budget or plan.study.mislabels.budget
    chosen = distinct.head(limit)
    doubtful = chosen if budget else chosen.filter(pl.col("score") >= LEAST_SCORE)
    _check_any(doubtful, f"none with a score of {LEAST_SCORE} or more", "Nothing needs a review.")
    written = write_review(_make_file(plan, doubtful, False), path)
    return CellExport(written, len(chosen) - len(doubtful))


def _check_any(cells: pl.DataFrame, got: str, remedy: str) -> None:
    if cells.is_empty():
        raise InputError("targets to review", "a target without an annotation", got, remedy)


def _select_unreviewed(plan: TargetPlan, search: TargetSearch) -> pl.DataFrame:
    """Cells without an annotation, with the columns of the search."""
    columns = ("rank", "doubt", "informed", *EVIDENCE)
    cells = plan.cells.hstack(search.table.select(columns))
    known = [
        plan.annotations.find_right_label(*cell)[0]
        for cell in cells.select("row", "content", "value").iter_rows()
    ]
    return cells.filter(~pl.Series(known, dtype=pl.Boolean))


def _make_file(plan: TargetPlan, cells: pl.DataFrame, is_sample: bool) -> pl.DataFrame:
    """Return the columns of a review file; all targets of the row are shown as one text."""
    targets = plan.inputs.train.name_targets(plan.study.labels)
    is_labels = plan.study.target == MULTI_LABEL
    frame = cells.with_columns(
        targets=pl.Series([targets[i] for i in cells["train"]], dtype=pl.String),
        row=pl.col("row").bin.encode("hex"),
        label=pl.col("name"),
    )
    if is_labels:
        frame = frame.with_columns(pl.col("given", "suggested").cast(pl.Int64))
        frame = frame.rename({"score": "probability"})
    evidence = ("suggested", "probability") if is_labels else EVIDENCE
    names = ("id", "label", "given", *(() if is_sample else evidence), "targets", "text")
    names += ("text_pair",) if plan.inputs.train.text_pairs else ()
    blank = {name: pl.lit(None, pl.String) for name in ("right_label", "reviewer")}
    return frame.select(*names, "row").with_columns(**blank, drawn=pl.lit(is_sample))


def import_cells(plan: TargetPlan, store: Store, path: Path, when: str) -> ImportResult:
    """Store the annotations of a review file; `right_label` is 0 or 1, or the right number.

    Args:
        plan: Input of the search.
        store: Store of the study.
        path: Filled-in file of `export_cells`.
        when: ISO time of the import, for display.

    Raises:
        StudyError: The file cannot be read, or contains no valid annotation.
    """
    review = read_review(path)
    samples = read_samples(store, plan.study.target)
    sampled = {row: each for sample in samples for row, each in sample.sampled_rows.items()}
    cells = {cell["row"]: cell for cell in _list_cells(plan)}
    by_id = {(cell["id"], cell["name"]): row for row, cell in cells.items()}
    accepted: list[ImportedAnnotation] = []
    refused: list[Problem] = list(review.refused)
    for record in review.records:
        if record.right is None:
            continue
        right = _parse_right(record, plan.study)
        row = _find_row(record, cells, by_id, sampled)
        problem = next((each for each in (right, row) if isinstance(each, Problem)), None)
        if problem is not None:
            refused.append(problem)
            continue
        assert isinstance(right, str), "problems are refused above"
        assert isinstance(row, bytes), "problems are refused above"
        is_drawn = bool(parse_flag(record.drawn)) and row in sampled
        accepted.append(ImportedAnnotation(record, row, right, is_drawn))
    accepted, disagreements = resolve_reviewers(accepted, ())
    refused += disagreements
    if not accepted:
        raise StudyError(path, make_nothing_kept_problems(refused))
    frame = _make_verdicts(accepted, cells, sampled, plan, store)
    write_annotations(store, frame, plan.study.labels, path.name, when, plan.study.target)
    return ImportResult(len(frame), tuple(refused), review.notes)


def _list_cells(plan: TargetPlan) -> list[dict]:
    return plan.cells.select("row", "content", "id", "name", "value").rows(named=True)


def _find_row(
    record: ReviewRecord,
    cells: Mapping[bytes, dict],
    by_id: Mapping[tuple[str, str], bytes],
    sampled: Mapping[bytes, SampledRow],
) -> bytes | Problem:
    """Digest of the cell of a record: by `row`, or without that column by `id` and `label`."""
    if record.row is not None:
        try:
            row = bytes.fromhex(record.row)
        except ValueError:
            row = b""
        if row in cells or row in sampled:
            return row
        expected, got = "a target of the training table", "another content or given target"
        change = "export the file again: the row was edited, or is not in the table any more"
        return record.make_problem("row", expected, got, change)
    row = by_id.get((record.id or "", record.label or ""))
    if row is not None:
        return row
    expected = "the column row; or id and label of a target of the training table"
    got = f"id {quote(record.id)}, label {quote(record.label)}"
    return record.make_problem("row", expected, got, "keep the columns of the export")


def _parse_right(record: ReviewRecord, study: Study) -> str | Problem:
    word = unescape_formula(record.right or "").strip()
    if study.target == MULTI_LABEL:
        if word.lower() in (*TRUE, "1.0"):
            return "1"
        if word.lower() in (*FALSE, "0.0"):
            return "0"
        expected = "1 if the row has the label, 0 if not"
        return record.make_problem("right_label", expected, quote(word, 40), "correct this row")
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return format_value(number)
    change = "write the right number, with a point and without separators of thousands"
    return record.make_problem("right_label", "a finite number", quote(word, 40), change)


def _make_verdicts(
    accepted: list[ImportedAnnotation],
    cells: Mapping[bytes, dict],
    sampled: Mapping[bytes, SampledRow],
    plan: TargetPlan,
    store: Store,
) -> pl.DataFrame:
    """Return rows of the table `verdicts`, with the score at the time of the review."""
    search = read_current_search(store, plan.cells).table
    scores = dict(zip(plan.cells["row"], search.select("score", "doubt").rows(), strict=True))
    lines = []
    for annotation in accepted:
        row, cell = annotation.row, cells.get(annotation.row)
        score, doubt = scores.get(row, (None, None))
        lines.append(
            {
                "row": row,
                "content": cell["content"] if cell else sampled[row].content,
                "id": cell["id"] if cell else annotation.record.id or "",
                "label": cell["value"] if cell else sampled[row].label,
                "right_label": annotation.right,
                "reviewer": " ".join(annotation.record.reviewer.split()),
                "probability": score,
                "doubt": doubt,
                "drawn": annotation.audited,
                "copied": False,
            }
        )
    return pl.DataFrame(lines, schema=polars_schema(VERDICTS))
