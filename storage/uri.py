"""Locations of a store: a local folder or a prefix in an S3 bucket.

A remote path is a `UPath`, which is read, listed and named like a local `Path`. Writing differs
(one PUT instead of a rename); see `storage.object_store`.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import Any, Final, cast

from storage.errors import StoreError

S3: Final = "s3://"
"""Scheme of S3 addresses."""
CLIENT_CONFIG: Final = {"connect_timeout": 10, "read_timeout": 20, "retries": {"max_attempts": 5}}
"""Timeouts (seconds) and retries of the S3 client: a bucket that does not respond fails after about
two minutes."""


def parse_location(address: str | Path) -> Path:
    """Return the path of a folder, or of a prefix such as `s3://bucket/audits`.

    Credentials, region and endpoint of S3 are taken from the usual places: the environment
    (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...), the files in ~/.aws, or the role of the machine.

    Raises:
        StoreError: The scheme is not supported, the bucket is missing from the address, or the
            packages for S3 are not installed.
    """
    text = str(address)
    if "://" not in text:
        return Path(text).absolute()
    bucket = text.removeprefix(S3).partition("/")[0]
    if not text.startswith(S3) or not bucket:
        raise StoreError(
            text,
            expected="a folder, or s3://bucket/prefix",
            got="an address of another kind",
            remedy="Correct the path of the store.",
        )
    try:
        import s3fs  # noqa: F401  # used by UPath for s3://
        from upath import UPath
    except ImportError as error:
        raise StoreError(
            text,
            expected="the packages for S3",
            got=str(error),
            remedy="Install them: pip install 'fastif[s3]'.",
        ) from None
    options: dict[str, Any] = {"use_listings_cache": False, "config_kwargs": CLIENT_CONFIG}
    path = UPath(text.rstrip("/"), **options)
    path.fs.retries = 1  # type: ignore[attr-defined]  # else it would repeat the client's five attempts five times
    return cast(Path, path)


def is_remote(path: Path) -> bool:
    """Return whether a path is in a bucket."""
    return not isinstance(path, PurePath)


def make_scan_options(path: Path) -> dict[str, str] | None:
    """Return the S3 options of a Polars scan, without credentials; None for a local path."""
    if not is_remote(path):
        return None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return {}
    return {
        "aws_endpoint_url": endpoint,
        "aws_allow_http": str(endpoint.startswith("http://")).lower(),
    }
