"""Order of the runs by a sequence number, independent of clocks.

A run gets the next number when it is opened, when it is finished, and when an audit finds it
already finished. Reverting the tables to an earlier state thus makes the earlier run the current
one again.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def make_current(layout: Layout, run: str, runs: Iterable[str]) -> None:
    """Give a run the next sequence number after all of `runs`.

    Two processes at the same instant may get the same number; `RunStore.list_runs` then orders by
    time of creation and name.

    Raises:
        StoreError: The file `order.json` cannot be written.
    """
    last = max((read_sequence(layout, name) for name in runs), default=0)
    if last == 0 or read_sequence(layout, run) != last or _is_shared(layout, run, runs, last):
        write_bytes(layout.order(run), seal({"sequence": last + 1}))


def _is_shared(layout: Layout, run: str, runs: Iterable[str], last: int) -> bool:
    return any(read_sequence(layout, name) == last for name in runs if name != run)
