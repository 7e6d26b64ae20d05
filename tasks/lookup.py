"""From the ids that people know to the positions that tables hold."""

import difflib

import polars as pl

from storage import Store, StoreError


def position(store: Store, run: str, table: str, name: str) -> int:
    """The position of the example with this id in the run's `queries` or `train` table.

    Raises:
        StoreError: no such id; near ones are named.
    """
    key = "query" if table == "queries" else "train"
    rows = store.scan(table, run).select(key, "id").collect()
    found = rows.filter(pl.col("id") == name)
    if found.is_empty():
        near = difflib.get_close_matches(name, rows["id"].to_list(), n=3, cutoff=0.5)
        raise StoreError.at(
            f"run {run}",
            expected=f"an id of its {len(rows)} {'queries' if key == 'query' else 'training rows'}"
            + (f", such as {rows['id'][0]}" if len(rows) else ""),
            got=repr(name),
            remedy=f"Did you mean {', '.join(near)}?" if near else "Take an id from the table.",
        )
    return int(found[key][0])


def newest_run(store: Store) -> str:
    """The newest finished run; the newest at all if none is finished.

    Raises:
        StoreError: the store has no run.
    """
    status = store.latest()
    if status is None:
        raise StoreError.at(
            store.layout.root, expected="a run", got="none", remedy="Start one with `fastif audit`."
        )
    return status.record.run
