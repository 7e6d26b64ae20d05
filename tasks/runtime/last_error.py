"""Record of the last error of a command, without its message, for a bug report."""

import os
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parents[2]
PACKAGES = ("fastif", "flows", "storage", "tasks")
FRAMES = 8
"""Number of frames of fastif that are recorded, the innermost ones."""


def record_error(error: BaseException) -> None:
    """Record class and place of an error in the folder of fastif's own state; never fails.

    Messages are left out, since they may quote paths and texts of the user.
    """
    names = [
        f"{Path(frame.filename).relative_to(FOLDER)}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(FOLDER)
        and Path(frame.filename).relative_to(FOLDER).parts[0] in PACKAGES
    ]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    line = f"{when}, {type(error).__module__}.{type(error).__qualname__} at "
    with suppress(OSError):
        path = _locate()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line + " < ".join(reversed(names[-FRAMES:])), "utf-8")


def read_last_error() -> str | None:
    """Read the record; None if there is none."""
    try:
        return _locate().read_text("utf-8")
    except (OSError, ValueError):
        return None


def _locate() -> Path:
    """Path of the record; the folder is also that of `fastif up`."""
    return Path(os.environ.get("FASTIF_HOME") or Path.home() / ".fastif") / "last-error.txt"
