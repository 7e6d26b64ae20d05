"""The training table with reviewed targets applied, in the format that it came in."""

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fastif import InputError
from tasks.data.dataset import read_table
from tasks.data.original_table import read_original
from tasks.data.read_targets import NO_LABELS, SEPARATORS
from tasks.data.row_edits import RowEdits
from tasks.data.table import Table
from tasks.data.table_writers import write_edited
from tasks.mislabels.corrected_files import create_corrected_files
from tasks.mislabels.corrected_table import make_source
from tasks.study.errors import StudyError, format_value
from tasks.study.sections import TrainSource
from tasks.study.target_kind import MULTI_LABEL
from tasks.wrong_targets.cells import read_values
from tasks.wrong_targets.target_plan import TargetPlan


@dataclass(frozen=True)
class CorrectedTargets:
    """Training rows with reviewed targets, not written yet.

    Attributes:
        plan: Input of the search, with the training rows and the annotations.
        values: Corrected targets, one row a training row and one column an output.
        changes: Changed cells, with columns train, output, id, name, before, after, by and when.
        conflicts: Number of cells on which reviewers disagree; they stay as they are.
        confirmed: Number of reviewed cells whose given target is right, or was corrected before.
    """

    plan: TargetPlan
    values: np.ndarray
    changes: pl.DataFrame
    conflicts: int
    confirmed: int


def correct_targets(plan: TargetPlan) -> CorrectedTargets:
    """Apply the annotations to the training rows.

    Args:
        plan: Input of the search.

    Raises:
        InputError: There are no annotations.
    """
    annotations = plan.annotations
    if not annotations.latest:
        raise InputError(
            "annotations",
            "one or more in the store of the study",
            "none",
            "Run `fastif review export --out review.csv`, fill in right_label, and import it with "
            "`fastif review import review.csv`.",
        )
    values = read_values(plan.inputs.train)
    lines, conflicts, confirmed = [], 0, 0
    for cell in plan.cells.iter_rows(named=True):
        row = cell["row"]
        is_known, right = annotations.find_right_label(row, cell["content"], cell["value"])
        conflicts += row in annotations.conflicts
        if not is_known or right is None:
            continue
        if right == cell["value"]:
            confirmed += 1
            continue
        values[cell["train"], cell["output"]] = float(right)
        reviews = annotations.latest[row]
        lines.append(
            {
                **{name: cell[name] for name in ("train", "output", "id", "name")},
                "before": cell["value"],
                "after": right,
                "by": ", ".join(sorted({each.reviewer for each in reviews if each.reviewer})),
                "when": max(each.when for each in reviews),
            }
        )
    schema = {"train": pl.Int64, "output": pl.Int64}
    texts = ("id", "name", "before", "after", "by", "when")
    changes = pl.DataFrame(lines, schema=schema | dict.fromkeys(texts, pl.String))
    return CorrectedTargets(plan, values, changes, conflicts, confirmed)


def write_targets(corrected: CorrectedTargets, path: Path) -> TrainSource:
    """Write the corrected table with all its columns, and the change log.

    The table is read again before it gets its name, and compared with the correction.

    Args:
        corrected: Corrected rows.
        path: Path that `check_corrected_table` accepts.

    Returns:
        The section `[train]` of a study of the corrected table.

    Raises:
        InputError: The format cannot hold the table, or the path exists by now.
        StudyError: The table cannot be read, or has changed since.
    """
    study = corrected.plan.study
    columns = [*study.train.target_columns]
    original = read_original(_name_column(study.train, columns[0]), study.folder)
    if len(original.numbers) != len(corrected.values):
        remedy = "Run the command again."
        raise InputError(original.place, "the same rows at each reading", "other rows", remedy)
    source = make_source(study.train, original, path)
    numbers = [original.numbers[i] for i in corrected.changes["train"]]
    log = corrected.changes.drop("train", "output").insert_column(0, pl.Series("position", numbers))

    def write(file: Path) -> None:
        _write_columns(corrected, columns, file)
        _check_equal(corrected, source.model_copy(update={"table": str(file)}), path)

    create_corrected_files(path, log, write)
    return source


def _name_column(source: TrainSource, column: str) -> TrainSource:
    return source.model_copy(update={"label": column, "labels": ()})


def _write_columns(corrected: CorrectedTargets, columns: Sequence[str], file: Path) -> None:
    """Edit the target columns one after the other; the last file has the name."""
    study = corrected.plan.study
    changed = corrected.changes["output"].unique().sort().to_list()
    places = changed if len(columns) > 1 else [0]
    source, folder = study.train, study.folder
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        for step, place in enumerate(places):
            column = columns[place]
            original = read_original(_name_column(source, column), folder)
            is_last = step == len(places) - 1
            target = file if is_last else Path(scratch) / f"{step}-{file.name}"
            cells = _choose_cells(corrected, original.cells, place, len(columns) == 1)
            write_edited(original, RowEdits(column, cells), target)
            source, folder = make_source(source, original, target), target.parent


def _choose_cells(
    corrected: CorrectedTargets, cells: pl.Series, place: int, is_whole_row: bool
) -> dict[int, Any]:
    """New cells of a column by row, written as the table writes such a target."""
    plan = corrected.plan
    names, before = plan.study.labels, read_values(plan.inputs.train)
    new: dict[int, Any]
    if is_whole_row and len(names) > 1:
        rows = corrected.changes["train"].unique().to_list()
        keys: Sequence[Any] = [tuple(row) for row in before.tolist()]
        is_labels = plan.study.target == MULTI_LABEL
        compose = _compose_labels if is_labels else _compose_numbers
        new = {i: tuple(corrected.values[i].tolist()) for i in rows}
    else:
        rows = corrected.changes.filter(pl.col("output") == place)["train"].to_list()
        keys, compose = before[:, place].tolist(), _cast_number
        new = {i: float(corrected.values[i, place]) for i in rows}
    usual = _find_usual_cells(cells, keys, {*new.values()})
    return {i: usual[key] if key in usual else compose(key, cells, names) for i, key in new.items()}


def _find_usual_cells(cells: pl.Series, keys: Sequence[Any], wanted: set) -> dict[Any, Any]:
    """Most frequent cell of each wanted target."""
    counts: dict[Any, Counter] = {}
    originals: dict[str, Any] = {}
    for key, cell in zip(keys, cells.to_list(), strict=True):
        if key in wanted:
            text = json.dumps(cell, default=str)
            originals[text] = cell
            counts.setdefault(key, Counter())[text] += 1
    return {key: originals[counter.most_common(1)[0][0]] for key, counter in counts.items()}


def _cast_number(value: float, cells: pl.Series, names: Sequence[str]) -> Any:
    """A number in the type of the column; in a text column with the column's decimal mark."""
    if cells.dtype.is_integer() and value.is_integer():
        return int(value)
    if cells.dtype.is_float():
        return value
    if cells.dtype == pl.Boolean:
        return bool(value)
    if cells.dtype == pl.String:
        is_whole = not cells.str.contains(r"[.,eE]").any()
        text = f"{value:.0f}" if value.is_integer() and is_whole else repr(value)
        has_commas = cells.str.contains(",").any() and not cells.str.contains(r"\.").any()
        return text.replace(".", ",") if has_commas else text
    expected = f"a type that holds the number {value!r}"
    remedy = "Save the column as decimal numbers, or enter a right label that it holds."
    raise InputError(f"column {cells.name}", expected, f"{cells.dtype}", remedy)


def _compose_numbers(row: tuple[float, ...], cells: pl.Series, names: Sequence[str]) -> Any:
    return [*row]


def _compose_labels(row: tuple[float, ...], cells: pl.Series, names: Sequence[str]) -> Any:
    """Label names of a row, as a list or as a text with the separator of the column."""
    chosen = [name for name, value in zip(names, row, strict=True) if value]
    if cells.dtype.is_nested():
        return chosen
    texts = cells.drop_nulls()
    texts = texts.filter(texts.str.strip_chars() != NO_LABELS)
    if texts.is_empty() or texts.str.starts_with("[").any():
        return json.dumps(chosen, ensure_ascii=False)
    known = {*names}
    for mark in SEPARATORS:
        spaced = f" {mark} " if texts.str.contains(f" {mark} ", literal=True).any() else mark
        parts = (part.strip() for text in texts for part in text.split(mark))
        if all(part in known or not part for part in parts):
            # A cell of the separator alone is read as no labels; an empty cell would be missing.
            return spaced.join(chosen) if chosen else mark
    return json.dumps(chosen, ensure_ascii=False)


def _check_equal(corrected: CorrectedTargets, written: TrainSource, path: Path) -> None:
    """Refuse a file that a study would read as other rows.

    Raises:
        InputError: Other contents or targets are read, or none.
    """
    plan, study = corrected.plan, corrected.plan.study
    before = plan.inputs.train
    joins = False if study.model.factory else None
    try:
        after = read_table(written, study.labels, study.folder, "train", joins, study.target)
    except StudyError as error:
        problem = error.problems[0]
        raise _make_unequal_error(path, before, f"{problem.where}: {problem.got}") from None
    is_same = after.texts == before.texts and after.text_pairs == before.text_pairs
    is_same = is_same and after.ids == before.ids and after.groups == before.groups
    if not is_same:
        raise _make_unequal_error(path, before, "other values outside of the targets")
    if not np.array_equal(read_values(after), corrected.values):
        raise _make_unequal_error(path, before, "other targets")


def _make_unequal_error(path: Path, table: Table, got: str) -> InputError:
    expected = "a file that is read as the corrected rows"
    remedy = f"Write the format of the table, {format_value(table.place)}, or .parquet."
    return InputError(f"--out {path}", expected, got, remedy)
