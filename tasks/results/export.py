"""Export of a run's tables as Parquet, CSV, NDJSON or Label Studio files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store, join_examples, join_queries
from storage.atomic import commit_file
from tasks.data.csv_escape import escape_formulas, unescape_formula
from tasks.mislabels.results import MislabelResult, read_latest_result
from tasks.mislabels.review_export import make_review_frame, write_review
from tasks.mislabels.row_index import is_same_text, strip_export_marks
from tasks.runtime.writable_path import check_outside
from tasks.study.errors import format_value, join_some
from tasks.study.path_kinds import describe_path
from tasks.study.spelling import normalize_nfc


@dataclass(frozen=True)
class ExportResult:
    """Result of an export.

    Attributes:
        rows: Number of rows written.
        notes: Sentences on selected ids that are not in the file.
    """

    rows: int
    notes: tuple[str, ...] = ()


TABLES = ("scores", "solves", "queries", "train", "totals", "mislabels")
NAMES = ("id", "label")
NO_TOTALS = (
    "the run has no totals: they need the effects of every training row on every query, so "
    '[candidates] kind = "full", and then `fastif audit`'
)
"""Note on an empty table of totals."""
SHOWN = 5


def write_export(
    store: Store,
    run: str | None,
    table: str,
    path: Path,
    only: Path | None = None,
    result: MislabelResult | None = None,
) -> ExportResult:
    """Write a table of a run to a file. Mislabels with the suffix .json are Label Studio tasks.

    Args:
        store: Store of the study.
        run: Name of the run; ignored for mislabels, which belong to a search.
        table: Name of the table, one of `TABLES`.
        path: New file with the suffix .parquet, .csv, .ndjson or .jsonl, or .json for mislabels.
        only: Selection, a .csv, .parquet, .ndjson or .jsonl file: only rows with an id in its
            column `id` are written. If it has a column `text`, rows with another text are skipped.
        result: Search for wrong labels to export; the newest if omitted.

    Raises:
        InputError: unknown table, unsupported suffix, existing file, or a selection that matches
            no row.
    """
    if table not in TABLES:
        raise InputError("table", f"one of {', '.join(TABLES)}", repr(table), "Name one of these.")
    if table == "mislabels" and path.suffix == ".json":
        result = result or read_latest_result(store)
        rows, notes = _select_rows(result.table, only)
        check_outside(store.layout.root, path)
        sample = make_review_frame(replace(result, table=rows), max(1, len(rows)))
        return ExportResult(write_review(sample, path), notes)
    writers = _make_writers()
    if path.suffix not in writers:
        got, suffixes = path.suffix or "no suffix", ", ".join(writers)
        raise InputError(f"--out {path}", f"a file name in {suffixes}", got, "Use such a suffix.")
    if path.exists():
        got, remedy = "a file that exists", "Choose another name."
        raise InputError(f"--out {path}", "a new file", got, remedy)
    check_outside(store.layout.root, path)
    frame, notes = _select_rows(_read_table(store, run, table, result), only)

    def write(temp_path: Path) -> None:
        writers[path.suffix](frame, temp_path)

    commit_file(path, write)
    if table == "totals" and frame.is_empty():
        notes = (*notes, NO_TOTALS)
    return ExportResult(len(frame), notes)


def _select_rows(frame: pl.DataFrame, only: Path | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Select rows by the ids of a file; all rows without one.

    Notes list the ids that the table lacks, and ids of rows that have another text by now.
    """
    if only is None:
        return frame, ()
    where = f"--only {only}"
    if "id" not in frame.columns:
        expected, change = "a table with a column id", "Export mislabels, train or queries."
        raise InputError(where, expected, f"columns {', '.join(frame.columns)}", change)
    selection = _read_selection(only, where).drop_nulls("id")
    ids = [normalize_nfc(name) for name in frame["id"]]
    known_ids = set(ids)
    selected_texts: dict[str, str | None] = {}
    texts = selection["text"] if "text" in selection.columns else [None] * len(selection)
    for name, text in zip(map(normalize_nfc, selection["id"]), texts, strict=True):
        selected_id = (
            unescape_formula(name) if only.suffix == ".csv" and name not in known_ids else name
        )
        selected_texts[selected_id] = text
    is_selected = [name in selected_texts for name in ids]
    rows = frame["text"] if "text" in frame.columns else [None] * len(frame)
    is_kept = [
        selected and _is_same_text(selected_texts[name], text)
        for selected, name, text in zip(is_selected, ids, rows, strict=True)
    ]
    missing = [name for name in selected_texts if name not in known_ids]
    changed = [name for name, a, b in zip(ids, is_selected, is_kept, strict=True) if a and not b]
    if not any(is_kept):
        got = f"none of its {len(selected_texts):,}" + (
            f", {len(changed):,} with other texts" * bool(changed)
        )
        raise InputError(where, "ids of the table", got, "Is the file of another study?")
    return frame.filter(pl.Series(is_kept, dtype=pl.Boolean)), tuple(
        _describe_left_out(missing, changed)
    )


def _is_same_text(selected: str | None, text: str | None) -> bool:
    """Whether a text equals the selected one, up to what a page or a spreadsheet changes in it."""
    if selected is None or text is None:
        return True
    return is_same_text(*strip_export_marks((selected, text)))


def _describe_left_out(missing: list[str], changed: list[str]) -> Iterator[str]:
    if missing:
        names = join_some(map(format_value, missing), SHOWN)
        yield f"{len(missing):,} ids of the selection are not in the table: {names}"
    if changed:
        names = join_some(map(format_value, changed), SHOWN)
        yield (
            f"{len(changed):,} ids of the selection belong to rows with another text by now, which "
            f"are skipped: {names}"
        )


def _read_selection(path: Path, where: str) -> pl.DataFrame:
    """Read the columns id (as text) and text, if present, of a selection."""
    read_lines = partial(pl.read_ndjson, infer_schema_length=None)
    readers = {
        ".csv": partial(pl.read_csv, infer_schema=False),
        ".parquet": pl.read_parquet,
        ".ndjson": read_lines,
        ".jsonl": read_lines,
    }
    expected = "a .csv, .parquet, .ndjson or .jsonl file with a column id"
    if path.suffix not in readers:
        got, remedy = path.suffix or "no suffix", "Save it in one of these formats."
        raise InputError(where, expected, got, remedy)
    if not path.is_file():
        raise InputError(where, expected, describe_path(path), "Correct the path.")
    try:
        selection = readers[path.suffix](path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        got = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        remedy = "Give a CSV that the report page exported."
        raise InputError(where, expected, got, remedy) from None
    if "id" not in selection.columns:
        got, remedy = f"columns {join_some(selection.columns)}", "Rename the column of the ids id."
        raise InputError(where, expected, got, remedy)
    has_text = "text" in selection.columns and selection["text"].dtype == pl.String
    return selection.select(pl.col("id").cast(pl.String), *(["text"] if has_text else []))


def _read_table(
    store: Store, run: str | None, table: str, result: MislabelResult | None
) -> pl.DataFrame:
    if table == "mislabels":
        return (result or read_latest_result(store)).table.sort("rank")
    assert run is not None, "all tables but mislabels belong to a run"
    rows = store.scan(table, run)
    if table == "scores":
        rows = join_queries(rows, store.scan("queries", run), NAMES)
        rows = join_examples(rows, store.scan("train", run), NAMES)
    return rows.collect()


def _make_writers() -> dict[str, Callable[[pl.DataFrame, Path], object]]:
    return {
        ".parquet": lambda frame, path: frame.write_parquet(path),
        ".csv": lambda frame, path: escape_formulas(frame).write_csv(path),
        ".ndjson": lambda frame, path: frame.write_ndjson(path),
        ".jsonl": lambda frame, path: frame.write_ndjson(path),
    }
