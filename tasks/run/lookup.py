"""Lookup of runs and of examples by id."""

import difflib

import polars as pl

from storage import Store, StoreError
from tasks.study.spelling import normalize_nfc

MAX_SHOWN = 5
"""Maximum number of shards listed in a message."""
TRAIN = "train"
"""Key of the commit of the training table."""


def find_position(store: Store, run: str, table: str, name: str) -> int:
    """Return the position of an example in the table `queries` or `train` of a run.

    Raises:
        StoreError: The id does not exist; the message suggests similar ones.
    """
    key = "query" if table == "queries" else "train"
    rows = store.scan(table, run).select(key, "id").collect()
    matches = rows.filter(pl.col("id").str.normalize("NFC") == normalize_nfc(name))
    if matches.is_empty():
        raise StoreError(
            f"run {run}",
            expected=f"an id of its {len(rows)} {'queries' if key == 'query' else 'training rows'}"
            + (f", such as {rows['id'][0]}" if len(rows) else ""),
            got=repr(name),
            remedy=_suggest_id(store, run, key, rows["id"].to_list(), name),
        )
    return int(matches[key][0])


def _suggest_id(store: Store, run: str, key: str, ids: list[str], name: str) -> str:
    """Return the remedy for an unknown id: the command of the other table, or similar ids."""
    other, kind, command = ("train", "a training row", "show")
    if key == "train":
        other, kind, command = ("queries", "a query", "top")
    other_ids = store.scan(other, run).select(pl.col("id").str.normalize("NFC")).collect()["id"]
    if normalize_nfc(name) in other_ids:
        return f"It is the id of {kind}: use `fastif {command}`."
    near = difflib.get_close_matches(name, ids, n=3, cutoff=0.5)
    return f"Did you mean {', '.join(near)}?" if near else "Use an id of the table."


def find_latest_run(store: Store) -> str:
    """Return the name of the latest finished run; of the latest run if none is finished.

    Raises:
        StoreError: The store has no run, or the run is damaged.
    """
    status = store.find_latest()
    if status is None:
        raise StoreError(
            store.layout.root,
            expected="a run",
            got="none",
            remedy="Start one with `fastif audit`. A study without [model] has no runs: its "
            "results are in `fastif mislabels`, `fastif report` and `fastif export mislabels`.",
        )
    return check_undamaged(store, status.record.run)


def check_undamaged(store: Store, run: str) -> str:
    """Return the name of a run if it is intact or unfinished.

    Raises:
        StoreError: The run does not exist, or it was finished and has lost a commit since.
    """
    store.read_record(run)  # the error lists the existing runs
    status = store.read_status(run)
    if status.is_damaged:
        lost = store.find_missing(run, status.record.list_shards())
        names = ", ".join(shard.key for shard in lost[:MAX_SHOWN])
        more = f" and {len(lost) - MAX_SHOWN} more" if len(lost) > MAX_SHOWN else ""
        got = f"{status.done} of {status.planned}; missing or damaged: {names}{more}"
        raise StoreError(
            f"run {run}",
            expected="every shard of a finished run" if lost else "its row of table runs",
            got=got if lost else "none",
            remedy="Run `fastif verify --repair`, which names the files, then `fastif audit`: it "
            "computes only the missing shards.",
        )
    if not store.is_committed(run, TRAIN):
        store.scan("train", run)  # raises with the path of a damaged file
        raise StoreError(
            f"run {run}",
            expected="its table of training rows",
            got="none",
            remedy="Run `fastif verify --repair`, then `fastif audit`: it writes this table first.",
        )
    return run
