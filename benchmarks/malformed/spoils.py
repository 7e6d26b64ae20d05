"""Functions that spoil a study's folder, for the lists of cases."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from benchmarks.malformed.case import Spoil
from benchmarks.malformed.folders import read_rows, write_rows

Rows = list[dict[str, str]]


def edit(old: str, new: str, name: str = "study.toml") -> Spoil:
    """Replace a fragment of a text file that must have it."""

    def spoil(folder: Path) -> None:
        path = folder / name
        text = path.read_text("utf-8")
        assert old in text, (name, old)
        path.write_text(text.replace(old, new), "utf-8")

    return spoil


def append(text: str, name: str = "study.toml") -> Spoil:
    """Append lines to a text file."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text("utf-8") + text, "utf-8")

    return spoil


def write(name: str, content: str | bytes) -> Spoil:
    """Write a file."""

    def spoil(folder: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)

    return spoil


def rows(name: str, change: Callable[[Rows], object]) -> Spoil:
    """Change the rows of a table, in place or by returning others."""

    def spoil(folder: Path) -> None:
        records = read_rows(folder / name)
        changed = change(records)
        write_rows(folder / name, changed if isinstance(changed, list) else records)

    return spoil


def cell(name: str, row: int, column: str, value: str) -> Spoil:
    """Set one cell of a table; rows are counted from 1."""
    return rows(name, lambda records: records[row - 1].__setitem__(column, value))


def recode(name: str, encoding: str) -> Spoil:
    """Write a table in another encoding."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_text("utf-8").encode(encoding))

    return spoil


def remove(*names: str) -> Spoil:
    """Remove files; a name may be a pattern that matches at least one."""

    def spoil(folder: Path) -> None:
        for name in names:
            paths = list_files(folder, name)
            for path in paths:
                path.unlink()

    return spoil


def invert(name: str, at: int | None = None) -> Spoil:
    """Invert eight bytes in the middle, or at a position, of each file that matches a pattern."""

    def spoil(folder: Path) -> None:
        for path in list_files(folder, name):
            data = bytearray(path.read_bytes())
            start = max(0, len(data) // 2 - 4) if at is None else at
            data[start : start + 8] = bytes(255 - byte for byte in data[start : start + 8])
            path.write_bytes(data)

    return spoil


def truncate(name: str, size: int = -50) -> Spoil:
    """Cut the end off each file that matches a pattern."""

    def spoil(folder: Path) -> None:
        for path in list_files(folder, name):
            path.write_bytes(path.read_bytes()[:size])

    return spoil


def config(**changes: object) -> Spoil:
    """Change keys of the model's config.json."""

    def spoil(folder: Path) -> None:
        path = folder / "model" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")

    return spoil


def deny(*names: str, mode: int = 0) -> Spoil:
    """Take away the permissions of files or folders."""

    def spoil(folder: Path) -> None:
        for name in names:
            for path in list_files(folder, name, folders=True):
                path.chmod(mode)

    return spoil


def fifo(name: str) -> Spoil:
    """Put a FIFO in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


def chain(*spoils: Spoil) -> Spoil:
    """Apply several in order."""

    def spoil(folder: Path) -> None:
        for each in spoils:
            each(folder)

    return spoil


def list_files(folder: Path, pattern: str, folders: bool = False) -> list[Path]:
    """Return the files that match a pattern, at least one."""
    paths = [path for path in folder.glob(pattern) if folders or path.is_file()]
    assert paths, (folder, pattern)
    return paths
