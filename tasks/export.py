"""Tables of a run as files that other tools read."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store, commit_file, with_examples, with_queries
from tasks.csv_cells import active, inert
from tasks.found import Found, newest_found
from tasks.outside import check_outside
from tasks.places import what_is
from tasks.problems import listed
from tasks.review import to_review, write_review

TABLES = ("scores", "solves", "queries", "train", "totals", "mislabels")
NAMES = ("id", "label")


def write_export(
    store: Store,
    run: str | None,
    table: str,
    path: Path,
    only: Path | None = None,
    found: Found | None = None,
) -> int:
    """Write a table; the number of its rows. Mislabels as .json are tasks for Label Studio.

    Args:
        store: has the table.
        run: whose it is; mislabels are of a search, whatever this says.
        table: which.
        path: a new file.
        only: a .csv or .parquet file whose column `id` names the rows that are wanted, such as a
            report's selection.
        found: the search that mislabels are of; the newest if left out.

    Raises:
        InputError: no such table, another ending, a file that is there, or a selection that names
            no row.
    """
    if table not in TABLES:
        raise InputError("table", f"one of {', '.join(TABLES)}", repr(table), "Name one of these.")
    if table == "mislabels" and path.suffix == ".json":
        found = found or newest_found(store)
        chosen = found if only is None else replace(found, table=_selected(found.table, only))
        check_outside(store.layout.root, path)
        return write_review(to_review(chosen, len(chosen.table)), path)
    writers = _writers()
    if path.suffix not in writers:
        got = path.suffix or "no ending"
        raise InputError(f"--out {path}", ", ".join(writers), got, "Choose one of these endings.")
    if path.exists():
        raise InputError(f"--out {path}", "a new file", "one that exists", "Name another.")
    check_outside(store.layout.root, path)
    frame = _table(store, run, table, found)
    if only is not None:
        frame = _selected(frame, only)

    def write(aside: Path) -> None:
        writers[path.suffix](frame, aside)

    commit_file(path, write)
    return len(frame)


def _selected(frame: pl.DataFrame, only: Path) -> pl.DataFrame:
    """The rows of these ids."""
    where = f"--only {only}"
    if "id" not in frame.columns:
        expected, change = "a table with a column id", "Take mislabels, train or queries."
        raise InputError(where, expected, f"columns {', '.join(frame.columns)}", change)
    ids = _ids(only, where)
    names = set(ids.drop_nulls())
    names |= set(map(active, names)) if only.suffix == ".csv" else set()
    found = frame.filter(pl.col("id").is_in(list(names)))
    if found.is_empty():
        got = f"none of its {len(ids):,}"
        raise InputError(where, "ids of the table", got, "Name the file of another study?")
    return found


def _ids(path: Path, where: str) -> pl.Series:
    """The column id of a selection."""
    readers = {".csv": partial(pl.read_csv, infer_schema=False), ".parquet": pl.read_parquet}
    expected = "a .csv or .parquet file with a column id"
    if path.suffix not in readers:
        got, remedy = path.suffix or "no ending", "Save it in one of these formats."
        raise InputError(where, expected, got, remedy)
    if not path.is_file():
        raise InputError(where, expected, what_is(path), "Correct the path.")
    try:
        selection = readers[path.suffix](path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        got = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(where, expected, got, "Name a report's selection.") from None
    if "id" not in selection.columns:
        got, remedy = f"columns {listed(selection.columns)}", "Call the column of the ids id."
        raise InputError(where, expected, got, remedy)
    return selection["id"].cast(pl.String)


def _table(store: Store, run: str | None, table: str, found: Found | None) -> pl.DataFrame:
    if table == "mislabels":
        return (found or newest_found(store)).table.sort("rank")
    assert run is not None, "other tables are of a run"
    rows = store.scan(table, run)
    if table == "scores":
        rows = with_queries(rows, store.scan("queries", run), NAMES)
        rows = with_examples(rows, store.scan("train", run), NAMES)
    return rows.collect()


def _writers() -> dict[str, Callable[[pl.DataFrame, Path], object]]:
    return {
        ".parquet": lambda frame, path: frame.write_parquet(path),
        ".csv": lambda frame, path: inert(frame).write_csv(path),
        ".ndjson": lambda frame, path: frame.write_ndjson(path),
    }
