"""Check that an output path is outside the store."""

from pathlib import Path

from fastif import InputError
from storage.uri import is_remote


def check_outside(store: Path, path: Path, option: str = "--out") -> None:
    """Refuse an output path inside the store.

    Args:
        store: Root of the store, a folder or a bucket's prefix.
        path: Output path.
        option: Command line option that set the path, for the message.

    Raises:
        InputError: the path is inside the store.
    """
    if is_remote(store):
        return
    root, place = Path(store).resolve(), path.resolve()
    if root in (place, *place.parents):
        remedy = "Choose a path outside: a store holds only files that fastif writes."
        where, got = f"{option} {path}", f"a path in {root}"
        raise InputError(where, "a path outside the store", got, remedy)
