"""Compaction of a finished run, and removal of what earlier compactions have replaced."""

from storage import Store, StoreError
from storage.compaction import AUTOMATIC_ROWS
from tasks.runtime.progress import print_line


def tidy_store(store: Store, run: str) -> None:
    """Merge the shards of a finished run to one file a table, and remove replaced files.

    The files of a shard stay for a day after they are replaced, since a reader may have listed
    them. The results are complete without this, so a failure is reported and not raised.

    Args:
        store: Store of the study.
        run: Name of the finished run.
    """
    try:
        store.compact(run, AUTOMATIC_ROWS)
        store.remove(store.find_replaced_files())
    except StoreError as error:
        print_line(f"The files of run {run} were not merged: {error}")
