"""A folder that is there whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """A folder aside, that takes the place of `folder` as a whole when all is written.

    If that fails it is removed again, and what was there before stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temp = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.tmp"
    try:
        yield temp
    except BaseException:  # also when interrupted: a model may be large
        shutil.rmtree(temp, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temp, folder)
