"""What lies below a folder, or below a prefix of a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.location import is_remote
from storage.remote import answered


def sizes_below(folder: Path) -> dict[str, int]:
    """Bytes of every file below, by its path from there; empty if nothing is.

    One listing, also of a bucket, where a question for each file would be a request each.
    """
    if not is_remote(folder):
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    remote: Any = folder
    with answered(folder):
        found = remote.fs.find(remote.path, detail=True)
    start = len(remote.path.rstrip("/")) + 1
    return {name[start:]: int(told["size"]) for name, told in found.items()}
