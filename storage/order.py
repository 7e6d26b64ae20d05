"""Order of the runs by a sequence number, independent of clocks.

A run gets the next number when it is opened, when it is finished, and when an audit finds it
already finished. Reverting the tables to an earlier state thus makes the earlier run the current
one again.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.atomic import write_bytes
from storage.errors import StoreError
from storage.object_store import translate_s3_errors
from storage.paths import Layout
from storage.sealed import seal, unseal


def read_sequence(layout: Layout, run: str) -> int:
    """Return the sequence number of a run; 0 for runs of versions without numbers.

    Raises:
        StoreError: The file `order.json` is damaged.
    """
    path = layout.order(run)
    try:
        with translate_s3_errors(path):
            data = path.read_bytes()
        return int(unseal(data)["sequence"])
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            path,
            expected="the sequence number of a run",
            got=f"an unreadable file ({error})",
            remedy="Remove the file; the run then counts as the oldest until its next audit.",
        ) from error


def make_current(layout: Layout, run: str, sequences: Mapping[str, int]) -> None:
    """Give a run the next sequence number after those of all runs.

    Two processes at the same instant may get the same number; `RunStore.list_runs` then orders by
    time of creation and name.

    Args:
        layout: Paths of the store.
        run: Name of the run.
        sequences: Sequence number of each run.

    Raises:
        StoreError: The file `order.json` cannot be written.
    """
    last = max(sequences.values(), default=0)
    newest = [name for name, sequence in sequences.items() if sequence == last]
    if last == 0 or newest != [run]:
        write_bytes(layout.order(run), seal({"sequence": last + 1}))
