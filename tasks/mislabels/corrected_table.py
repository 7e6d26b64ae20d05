"""The corrected training table of a study: annotations applied, and written with a change log."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store
from storage.uri import is_remote
from tasks.data.inputs import Inputs, read_inputs
from tasks.data.original_table import OriginalTable, read_original
from tasks.data.read_content import LABEL, read_content
from tasks.data.row_edits import RowEdits, choose_cells
from tasks.data.row_hashes import content_digests, row_digest
from tasks.data.table_writers import get_format, keeps_text, write_edited
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.apply_annotations import (
    Correction,
    Drops,
    LabelledRows,
    apply_annotations,
    make_change_log,
)
from tasks.mislabels.corrected_files import create_corrected_files
from tasks.run.existing_store import open_existing_store, resolve_store_path
from tasks.study.errors import StudyError, format_value
from tasks.study.sections import TrainSource
from tasks.study.study import Study

FORM_KEYS = ("separator", "decimal", "encoding", "sheet", "dataset", "split", "config")
"""Keys on the form of a table that another format does not have."""


@dataclass(frozen=True)
class CorrectedRows:
    """Training rows with annotations applied, not written yet.

    Attributes:
        inputs: Study and tables.
        correction: Corrected rows.
    """

    inputs: Inputs
    correction: Correction


def correct_rows(study: Path, store: Store | None, duplicates: bool, leaks: bool) -> CorrectedRows:
    """Apply the annotations of a store to the training rows of a study.

    Args:
        study: Study file.
        store: Store of the study; None if there is none.
        duplicates: Whether to drop duplicates with the same corrected label.
        leaks: Whether to drop rows that are verbatim queries.

    Raises:
        InputError: there are no annotations and nothing else to drop, or no queries to compare
            with; or the rows that are left have a single label.
    """
    inputs = read_inputs(study, "`fastif review apply`")
    annotations = read_annotations(store, inputs.train, inputs.study.labels)
    if not (annotations.latest or duplicates or leaks):
        raise InputError(
            "annotations",
            "one or more in the store of the study",
            "none",
            "Run `fastif review export --out review.csv`, fill in right_label, and import it with "
            "`fastif review import review.csv`; or drop rows only, with --drop-duplicates or "
            "--drop-leaks.",
        )
    if leaks and not inputs.study.has_queries:
        expected, got = "a study with [queries]", "a study without"
        raise InputError("--drop-leaks", expected, got, "Add [queries], or leave the option out.")
    drops = Drops(duplicates, _map_queries(inputs) if leaks else {})
    rows = _make_rows(inputs)
    correction = apply_annotations(rows, annotations, inputs.study.labels, drops)
    left = {y for i, y in enumerate(correction.labels) if i not in correction.dropped}
    if correction.changes and len(left) < 2:
        got = f"{format_value(next(iter(left)))} in all rows" if left else "no row"
        remedy = "Correct the annotations, or leave out the --drop options."
        raise InputError("the corrected table", "rows of 2 or more labels", got, remedy)
    return CorrectedRows(inputs, correction)


def _make_rows(inputs: Inputs) -> LabelledRows:
    table, labels = inputs.train, inputs.study.labels
    measurements = table.measurements
    names = [labels[i] for i in table.labels]
    decides = measurements is None or measurements.image
    contents = content_digests(table)
    digests = [row_digest(*row) for row in zip(contents, names, strict=True)]
    return LabelledRows(table.ids, names, contents, digests, decides)


def _map_queries(inputs: Inputs) -> dict[bytes, str]:
    pairs = zip(content_digests(inputs.queries), inputs.queries.ids, strict=True)
    return dict(reversed(list(pairs)))  # the first query of each content


def write_corrected(corrected: CorrectedRows, path: Path) -> TrainSource:
    """Write the corrected table with all its columns, and the change log.

    The table is read again before it gets its name, and compared with the correction.

    Args:
        corrected: Corrected rows.
        path: Path that `check_corrected_table` accepts.

    Returns:
        The section `[train]` of a study of the corrected table.

    Raises:
        InputError: the format cannot hold the table, or the path exists by now.
        StudyError: the table cannot be read, or has changed since.
        StoreError: the files cannot be written; none of them is left.
    """
    inputs, correction = corrected.inputs, corrected.correction
    study = inputs.study
    original = read_original(study.train, study.folder)
    before = read_content(study.train, study.labels, study.folder)
    names = [study.labels[i] for i in inputs.train.labels]
    if before[LABEL].to_list() != names or len(original.numbers) != len(names):
        remedy = "Run the command again."
        raise InputError(original.place, "the same rows at each reading", "other rows", remedy)
    _check_image_paths(before, study, path)
    edits = _make_edits(original, corrected, names)
    source = make_source(study.train, original, path)
    log = make_change_log(correction.changes, inputs.train.ids, original.numbers)

    def write(file: Path) -> None:
        write_edited(original, edits, file)
        written = source.model_copy(update={"table": str(file)})
        try:
            after = read_content(written, study.labels, file.parent)
        except StudyError as error:
            problem = error.problems[0]
            raise _make_unequal_error(path, original, f"{problem.where}: {problem.got}") from None
        _check_equal(before, after, correction, path, original)

    create_corrected_files(path, log, write)
    return source


def _check_image_paths(before: pl.DataFrame, study: Study, path: Path) -> None:
    """Refuse another folder for a table with paths of images, which start from its folder."""
    name = f"image: {study.train.image}"
    if name not in before or before[name].dtype != pl.String:
        return
    folder = study.folder if study.train.table is None else study.resolve(study.train.table).parent
    if path.resolve().parent != folder.resolve():
        raise InputError(
            f"--out {path}",
            f"a path in the folder of the table, {folder}, from which paths of images start",
            "another folder",
            "Write the table there.",
        )


def _make_edits(
    original: OriginalTable, corrected: CorrectedRows, names: Sequence[str]
) -> RowEdits:
    correction = corrected.correction
    after = {c.position: c.after for c in correction.changes if c.after is not None}
    cells = choose_cells(original.cells, names, set(after.values()))
    new_cells = {position: cells[label] for position, label in after.items()}
    return RowEdits(corrected.inputs.study.train.label, new_cells, correction.dropped)


def make_source(train: TrainSource, original: OriginalTable, path: Path) -> TrainSource:
    """The section `[train]` for a corrected table: without the keys of another form."""
    has_same_form = keeps_text(original, get_format(path)[0])
    removed = {} if has_same_form else dict.fromkeys(FORM_KEYS)
    return train.model_copy(update={**removed, "table": str(path)})


def _check_equal(
    before: pl.DataFrame,
    after: pl.DataFrame,
    correction: Correction,
    path: Path,
    original: OriginalTable,
) -> None:
    """Refuse a file that a study would read as other rows.

    Raises:
        InputError: a column with other values, which the format or its detection causes.
    """
    kept = pl.Series([i not in correction.dropped for i in range(len(before))], dtype=pl.Boolean)
    labels = pl.Series(LABEL, correction.labels)
    expected = before.with_columns(labels).filter(kept)
    for name in expected.columns:
        if not after[name].equals(expected[name]):
            raise _make_unequal_error(path, original, f"other values in the column {name}")


def _make_unequal_error(path: Path, original: OriginalTable, got: str) -> InputError:
    remedy = f"Write the format of the table, {original.suffix or '.parquet'}."
    if original.separator:
        remedy += " Set the keys separator, decimal and encoding of [train] if they are detected."
    return InputError(f"--out {path}", "a file that is read as the corrected rows", got, remedy)


def find_store(study: Study) -> Store | None:
    """Open the store of a study for reading; None if there is none yet.

    Raises:
        StoreError: the store is damaged, or that of another study.
    """
    path = resolve_store_path(study)
    return open_existing_store(study) if is_remote(path) or path.exists() else None


def describe_study_change(study: Study, source: TrainSource) -> list[str]:
    """Describe the lines of `[train]` to change for the corrected table.

    Args:
        study: Study of the table before.
        source: Section `[train]` for the corrected table.
    """
    path = os.path.relpath(Path(str(source.table)).absolute(), study.folder.absolute())
    key = "dataset" if study.train.table is None else "table"
    old = format_value(getattr(study.train, key), 4096)
    where = f"In [train] of {study.path}, replace: {key} = {old}"
    lines = [where, f"by: table = {format_value(path, 4096)}"]
    given = [name for name in FORM_KEYS if name != key and getattr(study.train, name) is not None]
    removed = [name for name in given if getattr(source, name) is None]
    return [*lines, f"Remove from [train]: {', '.join(removed)}."] if removed else lines
