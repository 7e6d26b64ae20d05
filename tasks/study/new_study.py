"""New study files: written only where no file exists."""

import errno
import os
import shlex
from pathlib import Path

from tasks.study.errors import Problem, StudyError


def check_new_file(path: Path) -> None:
    """Refuse a study file that exists already or cannot be written, before any work.

    Raises:
        StudyError: The file exists, or its folder does not, or is read-only.
    """
    try:
        path.lstat()
        raise StudyError(path, [_explain_existing_file(path)])
    except FileNotFoundError:
        code = 0 if path.parent.is_dir() else errno.ENOENT
        code = code or (0 if os.access(path.parent, os.W_OK) else errno.EACCES)
    except OSError as error:  # such as a name that is too long
        code = error.errno or errno.EACCES
    if code:
        raise StudyError(path, [_explain_unwritable(path, code)])


def write_new_file(path: Path, text: str) -> None:
    """Write a study file that does not exist yet; a truncated file is never left.

    Raises:
        StudyError: The file exists, or it cannot be written.
    """
    try:
        path.touch(exist_ok=False)
        try:
            path.write_text(text, "utf-8")
        except OSError:
            path.unlink()
            raise
    except FileExistsError:
        raise StudyError(path, [_explain_existing_file(path)]) from None
    except OSError as error:
        problem = _explain_unwritable(path, error.errno or errno.EACCES)
        raise StudyError(path, [problem]) from None


def _explain_unwritable(path: Path, code: int) -> Problem:
    """Return the problem of a file that cannot be written, with the remedy of its error code."""
    elsewhere = "write the file to another folder: --out FOLDER/study.toml"
    remedies = {
        errno.ENOENT: f"make the folder first: mkdir -p {shlex.quote(str(path.parent))}",
        errno.ENOSPC: f"free space on this disk, or {elsewhere}",
        errno.EDQUOT: f"free space within your quota, or {elsewhere}",
    }
    return Problem("file", "a writable place", os.strerror(code), remedies.get(code, elsewhere))


def _explain_existing_file(path: Path) -> Problem:
    """Return the problem of a file that exists, with the first free name in its folder."""
    number = 2
    while (free := path.with_name(f"{path.stem}-{number}.toml")).exists():
        number += 1
    change = f"go on with it, or write another file: --out {free}"
    return Problem("file", "a new file", "a file exists", change)
