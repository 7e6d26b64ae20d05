"""Objects of a bucket: each appears whole, with the one request that puts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.errors import StoreError
from storage.uri import is_remote


def put(path: Path, data: bytes) -> None:
    """Put an object, in the place of an older one.

    Raises:
        StoreError: the bucket does not answer, or refuses.
    """
    with translate_s3_errors(path), _require_bucket(path):
        _filesystem(path).pipe_file(_key(path), data)


def create(path: Path, data: bytes) -> bool:
    """Put an object unless one is there; of many callers exactly one gets True.

    Raises:
        StoreError: as `put`.
    """
    with translate_s3_errors(path), _require_bucket(path):
        try:
            _filesystem(path).pipe_file(_key(path), data, mode="create")
        except FileExistsError:
            return False
    return True


def upload(file: Path, path: Path) -> None:
    """Put a file's bytes as an object, without holding them all.

    Raises:
        StoreError: as `put`.
    """
    with translate_s3_errors(path), _require_bucket(path):
        _filesystem(path).put_file(str(file), _key(path))


def download(path: Path, file: Path) -> None:
    """Write an object's bytes to a file, without holding them all.

    Raises:
        StoreError: the bucket does not answer.
        FileNotFoundError: it has no such object.
    """
    with translate_s3_errors(path):
        _filesystem(path).get_file(_key(path), str(file))


@contextmanager
def translate_s3_errors(path: Path) -> Iterator[None]:
    """Turn whatever a client of S3 raises into a StoreError that says what to do.

    That something is not there (or is) passes: it is an answer, and the caller's to judge. Around
    work on a local path it does nothing.
    """
    if not is_remote(path):
        yield
        return
    try:
        yield
    except (StoreError, FileNotFoundError, FileExistsError, ValueError, KeyError):
        raise
    except PermissionError as error:
        raise StoreError(
            path,
            expected="the right to read and write there",
            got=f"a refusal ({error})",
            remedy="Check the keys in the environment and the bucket's policy.",
        ) from error
    except Exception as error:  # every layer below has exceptions of its own
        raise StoreError(
            path,
            expected="an answer of the bucket",
            got=f"{type(error).__name__}: {error}",
            remedy="Check AWS_ENDPOINT_URL, the network and the bucket, then run again: everything "
            "committed is kept.",
        ) from error


@contextmanager
def _require_bucket(path: Path) -> Iterator[None]:
    """To put an object, nothing has to be there but its bucket."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(
            path,
            expected="a bucket of that name",
            got=str(error),
            remedy="Make the bucket, or correct the path of the store.",
        ) from error


def _filesystem(path: Path) -> Any:
    return path.fs  # type: ignore[attr-defined]  # of a UPath


def _key(path: Path) -> str:
    return path.path  # type: ignore[attr-defined]
