"""Objects of an S3 bucket, each written atomically by a single PUT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.errors import StoreError
from storage.uri import is_remote


def put(path: Path, data: bytes) -> None:
    """Write an object, replacing an older one.

    Raises:
        StoreError: The bucket is missing, does not respond or denies access.
    """
    with translate_s3_errors(path), _require_bucket(path):
        _filesystem(path).pipe_file(_key(path), data)


def create(path: Path, data: bytes) -> bool:
    """Write an object unless it exists (conditional PUT); of many callers exactly one gets True.

    Raises:
        StoreError: The bucket is missing, does not respond or denies access.
    """
    with translate_s3_errors(path), _require_bucket(path):
        try:
            _filesystem(path).pipe_file(_key(path), data, mode="create")
        except FileExistsError:
            return False
    return True


def upload(file: Path, path: Path) -> None:
    """Write a file as an object, streaming its bytes.

    Raises:
        StoreError: The bucket is missing, does not respond or denies access.
    """
    with translate_s3_errors(path), _require_bucket(path):
        _filesystem(path).put_file(str(file), _key(path))


def download(path: Path, file: Path) -> None:
    """Write an object to a local file, streaming its bytes.

    Raises:
        StoreError: The bucket does not respond or denies access.
        FileNotFoundError: The object does not exist.
    """
    with translate_s3_errors(path):
        _filesystem(path).get_file(_key(path), str(file))


@contextmanager
def translate_s3_errors(path: Path) -> Iterator[None]:
    """Context manager that converts errors of the S3 client into a `StoreError` with a remedy.

    `FileNotFoundError` and `FileExistsError` pass through: they are results that the caller
    handles. For a local path the context does nothing.
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
            expected="read and write permission",
            got=f"access denied ({error})",
            remedy="Check the keys in the environment and the bucket's policy.",
        ) from error
    except Exception as error:  # botocore, aiohttp and fsspec raise many types
        raise StoreError(
            path,
            expected="a response from the bucket",
            got=f"{type(error).__name__}: {error}",
            remedy="Check AWS_ENDPOINT_URL, the network and the bucket, then run again: everything "
            "committed is kept.",
        ) from error


@contextmanager
def _require_bucket(path: Path) -> Iterator[None]:
    """Convert a `FileNotFoundError` of a write, which means that the bucket is missing."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(
            path,
            expected="an existing bucket",
            got=str(error),
            remedy="Create the bucket, or correct the path of the store.",
        ) from error


def _filesystem(path: Path) -> Any:
    return path.fs  # type: ignore[attr-defined]  # path is a UPath


def _key(path: Path) -> str:
    return path.path  # type: ignore[attr-defined]
