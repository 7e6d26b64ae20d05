"""From the ids that people know to the positions that tables hold."""

import difflib

import polars as pl

from storage import Store, StoreError
from tasks.study.spelling import normalize_nfc

MAX_SHOWN = 5
TRAIN = "train"
"""Key of the commit that holds the training rows."""


def find_position(store: Store, run: str, table: str, name: str) -> int:
    """The position of the example with this id in the run's `queries` or `train` table.

    Raises:
        StoreError: no such id; near ones are named.
    """
    key = "query" if table == "queries" else "train"
    rows = store.scan(table, run).select(key, "id").collect()
    matches = rows.filter(pl.col("id").str.normalize("NFC") == normalize_nfc(name))
    if matches.is_empty():
        near = difflib.get_close_matches(name, rows["id"].to_list(), n=3, cutoff=0.5)
        raise StoreError(
            f"run {run}",
            expected=f"an id of its {len(rows)} {'queries' if key == 'query' else 'training rows'}"
            + (f", such as {rows['id'][0]}" if len(rows) else ""),
            got=repr(name),
            remedy=f"Did you mean {', '.join(near)}?" if near else "Take an id from the table.",
        )
    return int(matches[key][0])


def find_latest_run(store: Store) -> str:
    """The run that was finished or shown last; the newest at all if none is finished.

    Raises:
        StoreError: the store has no run, or this one has lost a shard since.
    """
    status = store.find_latest()
    if status is None:
        raise StoreError(
            store.layout.root,
            expected="a run",
            got="none",
            remedy="Start one with `fastif audit`; a study of labels alone has no runs: what "
            "`fastif mislabels` found is given by `fastif export mislabels` and `fastif review`.",
        )
    return check_undamaged(store, status.record.run)


def check_undamaged(store: Store, run: str) -> str:
    """The same name, if the run is whole or in work.

    Raises:
        StoreError: no such run, or it was finished and has lost something since.
    """
    store.read_record(run)  # says which runs there are
    status = store.read_status(run)
    if status.is_damaged:
        lost = store.find_missing(run, status.record.list_shards())
        names = ", ".join(shard.key for shard in lost[:MAX_SHOWN])
        more = f" and {len(lost) - MAX_SHOWN} more" if len(lost) > MAX_SHOWN else ""
        got = f"{status.done} of {status.planned}, without {names}{more}" if lost else "it damaged"
        raise StoreError(
            f"run {run}",
            expected="every shard of a finished run" if lost else "the run's own row",
            got=got,
            remedy="Run `fastif audit` again: it computes only what is missing. "
            "`fastif verify` names every damaged file.",
        )
    if not store.is_committed(run, TRAIN):
        store.scan("train", run)  # refuses by the name of a file that is not whole
        raise StoreError(
            f"run {run}",
            expected="its table of training rows",
            got="none",
            remedy="Run `fastif audit` again: it describes them first.",
        )
    return run
