"""Upkeep of the store at the end of an audit: merged files, and removal of replaced ones."""

from storage import StoreError
from storage.compaction import AUTOMATIC_ROWS
from tasks.planning.open_run import lease_run
from tasks.run.sketch_upkeep import merge_sketches
from tasks.run.spec import RunRef
from tasks.runtime.progress import print_line


def tidy_store(ref: RunRef) -> None:
    """Merge the shards of runs finished a day ago to one file a table, and chunks of sketches.

    The shards go at once: programs that read all files of a folder would count their rows twice.
    The results are complete without this, so a failure is reported and not raised.

    Args:
        ref: Reference of the finished run.
    """
    try:
        with lease_run(ref) as context:
            for run in context.store.find_scattered_runs(AUTOMATIC_ROWS):
                context.store.compact(run, AUTOMATIC_ROWS)
            context.store.remove(context.store.find_replaced_files())
            merge_sketches(context)
    except (StoreError, OSError) as error:  # also a file that another process has removed
        print_line(f"The files of earlier runs were not merged: {error}")
