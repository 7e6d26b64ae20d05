"""Tables of a run as files that other tools read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store, commit_file, with_examples, with_queries
from tasks.data.csv_escape import active, inert
from tasks.mislabels.results import Found, newest_found
from tasks.mislabels.review_export import to_review, write_review
from tasks.mislabels.row_index import plain_texts, same_text
from tasks.runtime.writable_path import check_outside
from tasks.study.errors import listed, show
from tasks.study.path_kinds import what_is
from tasks.study.spelling import composed


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        rows: how many.
        notes: of what the selection names and the file lacks, sentence by sentence.
    """

    rows: int
    notes: tuple[str, ...] = ()


TABLES = ("scores", "solves", "queries", "train", "totals", "mislabels")
NAMES = ("id", "label")
SHOWN = 5


def write_export(
    store: Store,
    run: str | None,
    table: str,
    path: Path,
    only: Path | None = None,
    found: Found | None = None,
) -> Exported:
    """Write a table. Mislabels as .json are tasks for Label Studio.

    Args:
        store: has the table.
        run: whose it is; mislabels are of a search, whatever this says.
        table: which.
        path: a new file.
        only: a .csv or .parquet file whose column `id` names the rows that are wanted, such as a
            report's selection; where it has a column `text` too, a row must have this text.
        found: the search that mislabels are of; the newest if left out.

    Raises:
        InputError: no such table, another ending, a file that is there, or a selection that names
            no row.
    """
    if table not in TABLES:
        raise InputError("table", f"one of {', '.join(TABLES)}", repr(table), "Name one of these.")
    if table == "mislabels" and path.suffix == ".json":
        found = found or newest_found(store)
        rows, notes = _selected(found.table, only)
        check_outside(store.layout.root, path)
        chosen = to_review(replace(found, table=rows), max(1, len(rows)))
        return Exported(write_review(chosen, path), notes)
    writers = _writers()
    if path.suffix not in writers:
        got = path.suffix or "no ending"
        raise InputError(f"--out {path}", ", ".join(writers), got, "Choose one of these endings.")
    if path.exists():
        raise InputError(f"--out {path}", "a new file", "one that exists", "Name another.")
    check_outside(store.layout.root, path)
    frame, notes = _selected(_table(store, run, table, found), only)

    def write(aside: Path) -> None:
        writers[path.suffix](frame, aside)

    commit_file(path, write)
    return Exported(len(frame), notes)


def _selected(frame: pl.DataFrame, only: Path | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows of these ids; all without a selection. An id may name another row since.

    Both are told: ids that the table lacks, and rows of another text than the selection has.
    """
    if only is None:
        return frame, ()
    where = f"--only {only}"
    if "id" not in frame.columns:
        expected, change = "a table with a column id", "Take mislabels, train or queries."
        raise InputError(where, expected, f"columns {', '.join(frame.columns)}", change)
    selection = _selection(only, where).drop_nulls("id")
    own = [composed(name) for name in frame["id"]]
    known = set(own)
    wanted: dict[str, str | None] = {}
    texts = selection["text"] if "text" in selection.columns else [None] * len(selection)
    for name, text in zip(map(composed, selection["id"]), texts, strict=True):
        plain = active(name) if only.suffix == ".csv" and name not in known else name
        wanted[plain] = text
    there = [name in wanted for name in own]
    rows = frame["text"] if "text" in frame.columns else [None] * len(frame)
    same = [
        is_there and _fits(wanted[name], text)
        for is_there, name, text in zip(there, own, rows, strict=True)
    ]
    lost = [name for name in wanted if name not in known]
    moved = [name for name, a, b in zip(own, there, same, strict=True) if a and not b]
    if not any(same):
        got = f"none of its {len(wanted):,}" + (f", {len(moved):,} with other texts" * bool(moved))
        raise InputError(where, "ids of the table", got, "Name the file of another study?")
    return frame.filter(pl.Series(same, dtype=pl.Boolean)), tuple(_left_out(lost, moved))


def _fits(selected: str | None, text: str | None) -> bool:
    """Whether a text is the one selected, as far as a page or a spreadsheet leaves it whole."""
    if selected is None or text is None:
        return True
    return same_text(*plain_texts((selected, text)))


def _left_out(lost: list[str], moved: list[str]) -> Iterator[str]:
    if lost:
        names = listed(map(show, lost), SHOWN)
        yield f"{len(lost):,} ids of the selection are not in the table: {names}"
    if moved:
        names = listed(map(show, moved), SHOWN)
        yield (
            f"{len(moved):,} ids of the selection name rows of another text now, which are left "
            f"out: {names}"
        )


def _selection(path: Path, where: str) -> pl.DataFrame:
    """A selection: its column id as text, and text if it has one."""
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
    has_text = "text" in selection.columns and selection["text"].dtype == pl.String
    return selection.select(pl.col("id").cast(pl.String), *(["text"] if has_text else []))


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
