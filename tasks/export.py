"""Tables of a run as files that other tools read."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store, with_examples, with_queries
from tasks.csv_cells import inert
from tasks.mislabels import newest_found
from tasks.review import write_review

TABLES = ("scores", "solves", "queries", "train", "totals", "mislabels")
NAMES = ("id", "label")
TEXTS = ["text", "text_pair"]


def write_export(store: Store, run: str, table: str, path: Path) -> int:
    """Write a table; the number of its rows. Mislabels as .json are tasks for Label Studio.

    Raises:
        InputError: no such table, another ending, or a file that is there.
    """
    if table not in TABLES:
        raise InputError("table", f"one of {', '.join(TABLES)}", repr(table), "Name one of these.")
    if table == "mislabels" and path.suffix == ".json":
        found = newest_found(store)
        return write_review(found, len(found.table), path)
    writers = _writers()
    if path.suffix not in writers:
        got = path.suffix or "no ending"
        raise InputError(f"--out {path}", ", ".join(writers), got, "Choose one of these endings.")
    if path.exists():
        raise InputError(f"--out {path}", "a new file", "one that exists", "Name another.")
    frame = _table(store, run, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    writers[path.suffix](frame, path)
    return len(frame)


def _table(store: Store, run: str, table: str) -> pl.DataFrame:
    if table == "mislabels":
        return newest_found(store).table.sort("rank")
    rows = store.scan(table, run)
    if table == "scores":
        rows = with_queries(rows, store.scan("queries", run), NAMES)
        rows = with_examples(rows, store.scan("train", run), NAMES)
    return rows.collect()


def _writers() -> dict[str, Callable[[pl.DataFrame, Path], object]]:
    return {
        ".parquet": lambda frame, path: frame.write_parquet(path),
        ".csv": lambda frame, path: inert(frame, TEXTS).write_csv(path),
        ".ndjson": lambda frame, path: frame.write_ndjson(path),
    }
