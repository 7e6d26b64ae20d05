"""Report files of a folder, read so that nothing else can be: no links, no other files."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from tasks.report.report_marks import (
    HISTORY_TITLE,
    START_BYTES,
    TITLE,
    has_json_mark,
    has_markdown_mark,
    has_page_mark,
)

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not block


def list_report_files(folder: Path) -> list[str]:
    """List the names of the reports in a folder; empty if there is no such folder.

    Args:
        folder: Folder of reports, not a symbolic link.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [name for name in names if read_report_file(folder, name, START_BYTES) is not None]


def read_report_file(folder: Path, name: str, size: int = -1) -> bytes | None:
    """Read a report, or its start; None for anything else.

    The file is opened once, so that its bytes are those of one version while it is replaced.

    Args:
        folder: Folder of reports, not a symbolic link.
        name: Name of a file in the folder.
        size: Largest number of bytes; all if -1.
    """
    if "/" in name or "\0" in name or name.startswith("."):
        return None
    with suppress(OSError):
        place = os.open(folder, _FOLDER_FLAGS)
        try:
            handle = os.open(name, _FILE_FLAGS, dir_fd=place)
        finally:
            os.close(place)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            content = file.read(size)
        return content if _is_report(name, content[:START_BYTES]) else None
    return None


def _is_report(name: str, start: bytes) -> bool:
    suffix = Path(name).suffix.lower()
    if suffix == ".html":
        return has_page_mark(start) or has_page_mark(start, HISTORY_TITLE)
    if suffix == ".md":
        return has_markdown_mark(start)
    return suffix == ".json" and has_json_mark(start)


def is_history(start: bytes) -> bool:
    """Return whether a page is one of the last runs."""
    return has_page_mark(start, HISTORY_TITLE) and not has_page_mark(start, TITLE)
