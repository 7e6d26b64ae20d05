"""New study files: written only where no file exists."""

from pathlib import Path

from tasks.study.errors import Problem, StudyError


def check_new_file(path: Path) -> None:
    """Refuse a study file that exists already, before any work.

    Raises:
        StudyError: The file exists.
    """
    if path.exists() or path.is_symlink():
        raise StudyError(path, [_explain_existing_file(path)])


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
        change = "choose a folder that exists and can be written"
        got = error.strerror or str(error)
        raise StudyError(path, [Problem("file", "a writable place", got, change)]) from None


def _explain_existing_file(path: Path) -> Problem:
    """Return the problem of a file that exists, with the first free name in its folder."""
    number = 2
    while (free := path.with_name(f"{path.stem}-{number}.toml")).exists():
        number += 1
    change = f"go on with it, or write another file: --out {free}"
    return Problem("file", "a new file", "a file exists", change)
