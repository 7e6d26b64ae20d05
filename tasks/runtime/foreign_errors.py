"""Translation of library exceptions into error messages with a remedy.

`InputError`, `StudyError` and `StoreError` are raised close to the cause, with place, expectation,
finding and remedy. Other exceptions of libraries, caused by unforeseen inputs, get the same four
parts here; the place is derived from the module of fastif that called the library. Exceptions
caused by mistakes in fastif itself are not translated, and are reported as such.
"""

import errno
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from polars.exceptions import PanicException

from fastif import InputError
from tasks.runtime.retries import USER_ERRORS

LIBRARY_ERRORS = (Exception, PanicException)
"""Exceptions of libraries; a Rust panic in Polars is not a subclass of `Exception`."""

TRACEBACK_VARIABLE = "FASTIF_TRACEBACK"
"""Environment variable that turns on the traceback of every error."""

P = ParamSpec("P")
R = TypeVar("R")

_ROOT = Path(__file__).parents[2]
_OWN_FOLDERS = tuple(str(_ROOT / name) + os.sep for name in ("fastif", "storage", "tasks", "flows"))

_MODEL = ("model of the study", "a classifier that transformers can load and run")
_TABLE = ("[train] or [queries] table", "a table that can be read")
_CANDIDATES = ("[candidates]", "settings from which FAISS can build an index")
_CURVATURE = ("[curvature] and [solver]", "a linear system that can be solved")
_STORE = ("[store] path", "a store that can be read and written")
_SAVE_MODEL = "Save the model again with the installed transformers, or use another model."
_CHOOSE_SOLVER = 'Set solver kind = "dual" with curvature kind = "gauss-newton", or raise damping.'
_SAVE_TABLE = "Save the table again as Parquet with columns of text and numbers."
_PLACES: tuple[tuple[tuple[str, ...], tuple[str, str], str], ...] = (
    (
        ("fastif/data/tokenized_text", "tasks/mislabels/text_features"),
        ("tokenizer of the study", "a tokenizer that reads every text"),
        "Copy the model's tokenizer files into its folder, or use another model.",
    ),
    (
        ("fastif/gradients", "fastif/numerics/blocked_dot"),
        ("[parameters] attributed", "parameters with a gradient for each example"),
        'Attribute other parameters, such as "last:1", or use another model.',
    ),
    (("tasks/data/",), _TABLE, _SAVE_TABLE),
    (("fastif/candidates",), _CANDIDATES, 'Set factory = "Flat", or kind = "full".'),
    (
        ("fastif/solvers", "fastif/curvature", "fastif/evaluation/select_damping"),
        _CURVATURE,
        _CHOOSE_SOLVER,
    ),
    (
        ("tasks/runtime/devices",),
        ("[run] devices", "devices that torch can compute on"),
        'Set other devices, or devices = "auto".',
    ),
    (("flows/executors",), ("--engine", "an executor that starts"), "Use --engine threads."),
    (("storage/",), _STORE, "Free space on it or mount it, or use another folder."),
    (
        ("fastif/", "tasks/models/", "tasks/planning/open_run"),
        _MODEL,
        _SAVE_MODEL,
    ),
)
_DEFAULT_PLACE = ("the study", "inputs that the libraries can read")
_RESTART_SERVER = "Start it with `fastif up`, or unset PREFECT_API_URL to use a temporary server."
_PREFECT = ("Prefect", "a server that responds", _RESTART_SERVER)
_DASK = (
    "--engine",
    "a Dask cluster that responds",
    "Check its workers, or use --engine threads.",
)
_LIBRARY_PLACES = {
    **dict.fromkeys(("prefect", "httpx", "httpcore", "sqlalchemy", "sqlite3"), _PREFECT),
    **dict.fromkeys(("distributed", "dask", "tornado"), _DASK),
}
"""Place, expectation and remedy by the library that raised, wherever it was called from."""


def to_input_error(error: BaseException) -> InputError | None:
    """Translate a library's exception into an `InputError`; None for a mistake in fastif."""
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        remedy = "Set [run] memory_gb, lower shard_size or batch_size, or use a larger machine."
        return InputError("memory", "enough memory", _summarize_error(error), remedy)
    place, expected, remedy = _LIBRARY_PLACES.get(_find_package(error)) or _find_place(error)
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        place = str(error.filename or place)
        expected, remedy = _DISK_ERRORS[error.errno]
        return InputError(place, expected, error.strerror or str(error), remedy)
    if isinstance(error, ImportError):
        name = error.name or "a package"
        remedy = f"pip install {name}" if error.name else "Install the missing package."
        return InputError(place, f"the package {name}", _summarize_error(error), remedy)
    if not _is_raised_by_library(error):
        return None
    return InputError(place, expected, _summarize_error(error), remedy)


def format_error(error: BaseException) -> str:
    """Format any exception as a message for users."""
    if isinstance(error, USER_ERRORS):
        return str(error)
    input_error = to_input_error(error)
    if input_error is not None:
        return f"{input_error} (Set {TRACEBACK_VARIABLE}=1 for the traceback.)"
    if not _is_external_class(error):
        cause = None if error.__cause__ is None else to_input_error(error.__cause__)
        remedy = "" if cause is None else f" {cause.remedy}"
        return f"{error}.{remedy} Committed shards are kept; the same command continues from there."
    last = _find_own_frame(error)
    where = f" at {last.filename.removeprefix(str(_ROOT) + os.sep)}:{last.lineno}" if last else ""
    function = f", in {last.name}" if last else ""
    return (
        f"A bug in fastif, not in your study: {_summarize_error(error)}{where}{function}. Please "
        f"report it with the output of {TRACEBACK_VARIABLE}=1. Committed shards are kept."
    )


@contextmanager
def translate_library_errors() -> Iterator[None]:
    """Replace a library's exception in the block by an `InputError` that has it as its cause.

    Raises:
        InputError: the translated exception.
    """
    try:
        yield
    except USER_ERRORS:
        raise
    except LIBRARY_ERRORS as error:
        input_error = to_input_error(error) if _is_external_class(error) else None
        if input_error is None:
            raise
        raise input_error from error


def wrap_library_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function with `translate_library_errors`; the result can be pickled."""

    @wraps(function)
    def wrapped(*args: P.args, **keys: P.kwargs) -> R:
        with translate_library_errors():
            return function(*args, **keys)

    return wrapped


_DISK_ERRORS = {
    errno.ENOSPC: ("free space on the disk", "Free some space, or use a folder on another disk."),
    errno.EDQUOT: ("free space on the disk", "Free some space, or use a folder on another disk."),
    errno.EACCES: (
        "permission to read and write the file",
        "Change its permissions, or use another file.",
    ),
    errno.EPERM: (
        "permission to read and write the file",
        "Change its permissions, or use another file.",
    ),
    errno.EROFS: ("a writable disk", "Use a folder on another disk."),
    errno.EMFILE: ("fewer open files", "Raise the limit: ulimit -n 4096."),
    errno.ENOENT: ("a file", "Correct the path."),
    errno.ENOTDIR: ("a folder", "Correct the path."),
    errno.EISDIR: ("a file, not a folder", "Correct the path."),
    errno.ENAMETOOLONG: ("a shorter name", "Shorten the path."),
    errno.EIO: ("a readable disk", "Check the disk, then run the same command again."),
}


def _is_external_class(error: BaseException) -> bool:
    """Whether the exception's class is not one of fastif."""
    return _find_package(error) not in ("fastif", "storage", "tasks", "flows")


def _find_package(error: BaseException) -> str:
    """Name of the package that defines the exception's class."""
    return type(error).__module__.partition(".")[0]


def _is_raised_by_library(error: BaseException) -> bool:
    """Whether a library raised it: its innermost frame or its class is not in fastif.

    The compiled cores of torch and tokenizers leave no frames, and raise RuntimeError or Exception.
    """
    if not _is_external_class(error):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not frames[-1].filename.startswith(_OWN_FOLDERS):
        return True
    is_builtin = type(error).__module__ == "builtins"
    return not is_builtin or isinstance(error, OSError) or type(error) in (RuntimeError, Exception)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory, on a GPU by the class and on a CPU by the message."""
    is_gpu_memory = type(error).__name__ == "OutOfMemoryError"
    return is_gpu_memory or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def _find_place(error: BaseException) -> tuple[str, str, str]:
    """Place, expectation and remedy by the innermost frame of fastif that has an entry."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_OWN_FOLDERS):
            continue
        module = frame.filename.removeprefix(str(_ROOT) + os.sep).replace(os.sep, "/")
        for prefixes, (place, expected), remedy in _PLACES:
            if module.startswith(prefixes):
                return place, expected, remedy
    return *_DEFAULT_PLACE, "Run `fastif doctor --study ...`, which shows the check that fails."


def _find_own_frame(error: BaseException) -> traceback.FrameSummary | None:
    frames = traceback.extract_tb(error.__traceback__)
    own_frames = [frame for frame in frames if frame.filename.startswith(_OWN_FOLDERS)]
    return own_frames[-1] if own_frames else None


def _summarize_error(error: BaseException) -> str:
    """Class and first line of the message, at most 300 characters."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
