"""The one boundary at which the exception of a library becomes a refusal.

What a user has to change is said by `InputError`, `StudyError` and `StoreError`, close to where it
is seen. Whatever else a library raises, for an input that nobody thought of, gets the same four
parts here: the place in the study, by the module of ours that called the library. An exception
that our own code raises by mistake stays one, and is told as such.
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
"""What a library may raise; a panic of Rust's is no `Exception`."""

TRACEBACK_VARIABLE = "FASTIF_TRACEBACK"
"""Environment variable that has the whole trace of an unforeseen exception printed."""

P = ParamSpec("P")
R = TypeVar("R")

_ROOT = Path(__file__).parents[2]
_OWN_FOLDERS = tuple(str(_ROOT / name) + os.sep for name in ("fastif", "storage", "tasks", "flows"))

_MODEL = ("model of the study", "a classifier that transformers can load and run")
_TABLE = ("[train] or [queries] table", "a table that can be read")
_CANDIDATES = ("[candidates]", "settings that FAISS can make an index of")
_CURVATURE = ("[curvature] and [solver]", "a curvature that can be solved")
_STORE = ("[store] path", "a store that can be read and written")
_SAVE_MODEL = "Save the model again with the transformers that is installed, or name another."
_CHOOSE_SOLVER = 'Take solver kind = "dual" with curvature kind = "gauss-newton", or more damping.'
_SAVE_TABLE = "Save the table again as Parquet with columns of text and numbers."
_PLACES: tuple[tuple[tuple[str, ...], tuple[str, str], str], ...] = (
    (
        ("fastif/data/tokenized_text", "tasks/mislabels/text_features"),
        ("tokenizer of the study", "a tokenizer that reads every text"),
        "Put the tokenizer's files of the model into its folder, or name another model.",
    ),
    (
        ("fastif/gradients", "fastif/numerics/blocked_dot"),
        ("[parameters] attributed", "parameters with a gradient for each example"),
        'Attribute others, such as "last:1", or name another model.',
    ),
    (("tasks/data/",), _TABLE, _SAVE_TABLE),
    (("fastif/candidates",), _CANDIDATES, 'Take factory = "Flat", or kind = "full".'),
    (
        ("fastif/solvers", "fastif/curvature", "fastif/evaluation/select_damping"),
        _CURVATURE,
        _CHOOSE_SOLVER,
    ),
    (
        ("tasks/runtime/devices",),
        ("[run] devices", "devices that torch can compute on"),
        'Name others, or set devices = "auto".',
    ),
    (("flows/executors",), ("--engine", "an engine that starts"), "Take --engine threads."),
    (("storage/",), _STORE, "Free or mount it, or name another folder."),
    (
        ("fastif/", "tasks/models/", "tasks/planning/open_run"),
        _MODEL,
        _SAVE_MODEL,
    ),
)
_DEFAULT_PLACE = ("the study", "inputs that the libraries can read")
_RESTART_SERVER = "See that it runs (`fastif up`), or unset PREFECT_API_URL for a temporary one."
_PREFECT = ("Prefect", "a server that answers", _RESTART_SERVER)
_DASK = (
    "--engine",
    "a Dask cluster that answers",
    "Look at its workers, or take --engine threads.",
)
_LIBRARY_PLACES = {
    **dict.fromkeys(("prefect", "httpx", "httpcore", "sqlalchemy", "sqlite3"), _PREFECT),
    **dict.fromkeys(("distributed", "dask", "tornado"), _DASK),
}
"""The place of what these libraries raise, wherever they were called from."""


def to_input_error(error: BaseException) -> InputError | None:
    """What a user can change about the exception of a library; None for a mistake of ours."""
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        remedy = "Set [run] memory_gb, lower shard_size or batch_size, or take a larger machine."
        return InputError("memory", "room for what is computed", _summarize_error(error), remedy)
    place, expected, remedy = _LIBRARY_PLACES.get(_find_package(error)) or _find_place(error)
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        place = str(error.filename or place)
        expected, remedy = _DISK_ERRORS[error.errno]
        return InputError(place, expected, error.strerror or str(error), remedy)
    if isinstance(error, ImportError):
        name = error.name or "a package"
        remedy = f"pip install {name}" if error.name else "Install what is missing."
        return InputError(place, f"the package {name}", _summarize_error(error), remedy)
    if not _is_raised_by_library(error):
        return None
    return InputError(place, expected, _summarize_error(error), remedy)


def format_error(error: BaseException) -> str:
    """An exception in words for a user, whoever raised it."""
    if isinstance(error, USER_ERRORS):
        return str(error)
    input_error = to_input_error(error)
    if input_error is not None:
        return f"{input_error} (Set {TRACEBACK_VARIABLE}=1 to see where the library raised it.)"
    if not _is_external_class(error):
        cause = None if error.__cause__ is None else to_input_error(error.__cause__)
        remedy = "" if cause is None else f" {cause.remedy}"
        return f"{error}.{remedy} What was committed is kept; the same command goes on from there."
    last = _find_own_frame(error)
    where = f" at {last.filename.removeprefix(str(_ROOT) + os.sep)}:{last.lineno}" if last else ""
    function = f", in {last.name}" if last else ""
    return (
        f"A mistake in fastif, not in your study: {_summarize_error(error)}{where}{function}. "
        "Please report "
        f"it with what {TRACEBACK_VARIABLE}=1 prints. What was committed is kept."
    )


@contextmanager
def translate_library_errors() -> Iterator[None]:
    """Raise the refusal in place of a library's exception, which stays its cause.

    Raises:
        InputError: in its place.
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
    """The function within `translate_library_errors`; unlike a generator's decorator it pickles."""

    @wraps(function)
    def wrapped(*args: P.args, **keys: P.kwargs) -> R:
        with translate_library_errors():
            return function(*args, **keys)

    return wrapped


_DISK_ERRORS = {
    errno.ENOSPC: ("room on the disk", "Free some space, or name a folder on another disk."),
    errno.EDQUOT: ("room on the disk", "Free some space, or name a folder on another disk."),
    errno.EACCES: (
        "a file that may be read and written",
        "Change its permissions, or name another.",
    ),
    errno.EPERM: (
        "a file that may be read and written",
        "Change its permissions, or name another.",
    ),
    errno.EROFS: ("a place that can be written", "Name a folder on another disk."),
    errno.EMFILE: ("fewer open files", "Raise the limit: ulimit -n 4096."),
    errno.ENOENT: ("a file", "Correct the path."),
    errno.ENOTDIR: ("a folder", "Correct the path."),
    errno.EISDIR: ("a file, no folder", "Correct the path."),
    errno.ENAMETOOLONG: ("a shorter name", "Shorten the path."),
    errno.EIO: ("a disk that can be read", "Look at the disk, then run the same command again."),
}


def _is_external_class(error: BaseException) -> bool:
    """Whether it says nothing of its own: exceptions of ours name the shard, or the deadline."""
    return _find_package(error) not in ("fastif", "storage", "tasks", "flows")


def _find_package(error: BaseException) -> str:
    """The package that its class is of."""
    return type(error).__module__.partition(".")[0]


def _is_raised_by_library(error: BaseException) -> bool:
    """Whether a library raised it: the innermost frame, or the class, is none of ours.

    The cores of torch and of the tokenizers have no frames: bare RuntimeError and Exception.
    """
    if not _is_external_class(error):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not frames[-1].filename.startswith(_OWN_FOLDERS):
        return True
    is_builtin = type(error).__module__ == "builtins"
    return not is_builtin or isinstance(error, OSError) or type(error) in (RuntimeError, Exception)


def _is_out_of_memory(error: BaseException) -> bool:
    """The class torch has for a GPU, and what its allocator says on a CPU."""
    is_gpu_memory = type(error).__name__ == "OutOfMemoryError"
    return is_gpu_memory or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


def _find_place(error: BaseException) -> tuple[str, str, str]:
    """Place, what is expected there, and a remedy: of the innermost frame that has a place."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_OWN_FOLDERS):
            continue
        module = frame.filename.removeprefix(str(_ROOT) + os.sep).replace(os.sep, "/")
        for prefixes, (place, expected), remedy in _PLACES:
            if module.startswith(prefixes):
                return place, expected, remedy
    return *_DEFAULT_PLACE, "Run `fastif doctor --study`, which names the part that fails."


def _find_own_frame(error: BaseException) -> traceback.FrameSummary | None:
    frames = traceback.extract_tb(error.__traceback__)
    own_frames = [frame for frame in frames if frame.filename.startswith(_OWN_FOLDERS)]
    return own_frames[-1] if own_frames else None


def _summarize_error(error: BaseException) -> str:
    """Its class and the first line that it says; no example text is more than that line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
