"""Store of a study: its location, and opening it for reading."""

from pathlib import Path

from storage import Store, StoreError
from storage.uri import parse_location
from tasks.study.study import Study

LABELS_ONLY = (
    "A study without [model] finds wrong labels: run `fastif mislabels` first, which shows them; "
    "then `fastif report` makes their page, and `fastif export mislabels` and `fastif review "
    "export` write them. Runs need a model and an audit, see `fastif init`."
)
"""Remedy where a study of labels only has no store yet."""


def open_existing_store(study: Study) -> Store:
    """Open the store of a study for reading.

    Raises:
        StoreError: The store does not exist.
    """
    try:
        return Store.open(resolve_store_path(study), study.name, create=False)
    except StoreError as error:
        if study.has_audit or Path(error.where).exists():
            raise
        raise StoreError(error.where, error.expected, error.got, LABELS_ONLY) from None


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
