"""Which run came last: by a number written with it, not by a clock that may be set back.

A run gets the next number when it is opened, when it is finished, and when an audit finds it
finished already: tables that were rolled back make an earlier run the current one again.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.atomic import write_bytes
from storage.errors import StoreError
from storage.object_store import translate_s3_errors
from storage.paths import Layout
from storage.sealed import seal, unseal


def read_sequence(layout: Layout, run: str) -> int:
    """The number of a run; 0 for one of before there were numbers.

    Raises:
        StoreError: its file is damaged.
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
            expected="the place of a run among the others",
            got=f"something unreadable ({error})",
            remedy="Remove the file; the run then counts as an early one until its next audit.",
        ) from error


def make_current(layout: Layout, run: str, runs: Iterable[str]) -> None:
    """Give a run the next number after all of `runs`.

    Of two processes that do so at once both may get one number; names decide then.

    Raises:
        StoreError: it cannot be written.
    """
    last = max((read_sequence(layout, name) for name in runs), default=0)
    if last == 0 or read_sequence(layout, run) != last or _is_shared(layout, run, runs, last):
        write_bytes(layout.order(run), seal({"sequence": last + 1}))


def _is_shared(layout: Layout, run: str, runs: Iterable[str], last: int) -> bool:
    return any(read_sequence(layout, name) == last for name in runs if name != run)
