"""Access to the store of a study for reading, without its tables and its model."""

from pathlib import Path

from storage import Store, StoreError
from storage.uri import parse_location
from tasks.study.study import Study


def open_existing_store(study: Study) -> Store:
    """Open the store of a study for reading.

    Raises:
        StoreError: The store does not exist.
    """
    return Store.open(resolve_store_path(study), study.name, create=False)


def find_existing_store(study: Study) -> Store | None:
    """Open the store of a study for reading; None if it does not exist."""
    try:
        return open_existing_store(study)
    except StoreError:
        return None  # missing; other errors are raised when it is opened


def resolve_store_path(study: Study) -> Path:
    """Return the location of a study's store, relative to the study file or an S3 address.

    Raises:
        StoreError: The scheme is not supported, or the packages for S3 are not installed.
    """
    path = study.store.path
    return parse_location(path if "://" in path else study.resolve(path))
