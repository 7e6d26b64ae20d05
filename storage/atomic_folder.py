"""Atomic replacement of a folder."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.temporary_paths import (
    forget_temporary_path,
    install_temporary_paths,
    new_temporary_path,
)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Context manager that yields a temporary folder and renames it to `folder` at the end.

    If the block raises, the temporary folder is removed and the earlier content of `folder` stays.
    Unlike the artifacts of a store, the replacement is not synced to the disk.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temp = new_temporary_path(folder)
    try:
        yield temp
    except BaseException:  # also when interrupted: a model may be large
        shutil.rmtree(temp, ignore_errors=True)
        forget_temporary_path(temp)
        raise
    earlier = new_temporary_path(folder)
    with install_temporary_paths():
        if folder.exists():
            os.rename(folder, earlier)
        os.replace(temp, folder)
    shutil.rmtree(earlier, ignore_errors=True)
    for path in (temp, earlier):
        forget_temporary_path(path)
