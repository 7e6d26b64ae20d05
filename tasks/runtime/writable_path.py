"""Whether something may be written at a path that a user named."""

from pathlib import Path

from fastif import InputError
from storage.uri import is_remote


def check_outside(store: Path, path: Path, option: str = "--out") -> None:
    """Refuse to write into a store, in which nothing of a user's may lie.

    Args:
        store: its folder, or a prefix of a bucket.
        path: what is to be written.
        option: that named it.

    Raises:
        InputError: it would be in the store.
    """
    if is_remote(store):
        return
    root, place = Path(store).resolve(), path.resolve()
    if root in (place, *place.parents):
        remedy = "Name a place beside it: a store holds only what fastif commits to it."
        raise InputError(f"{option} {path}", "a place outside the store", f"one in {root}", remedy)
