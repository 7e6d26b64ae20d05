"""Where a store lies: a local folder, or a prefix of an S3 bucket. The rest of the room sees paths.

A remote path is a `UPath`: it is read, listed and named like a local one. What is done otherwise
there (one PUT in place of a rename) is in `storage.object_store`.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import Any, Final, cast

from storage.errors import StoreError

S3: Final = "s3://"
CLIENT_CONFIG: Final = {"connect_timeout": 10, "read_timeout": 20, "retries": {"max_attempts": 5}}
"""A bucket that does not answer is given up after about two minutes."""


def parse_location(address: str | Path) -> Path:
    """The path of a folder, or of a prefix such as ``s3://bucket/audits``.

    Keys, region and endpoint of S3 come from where its other clients have them: the environment
    (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...), the files under ~/.aws, or the machine's role.

    Raises:
        StoreError: another kind of address, an S3 address without a bucket, or the packages for S3
            are not installed.
    """
    text = str(address)
    if "://" not in text:
        return Path(text).absolute()
    bucket = text.removeprefix(S3).partition("/")[0]
    if not text.startswith(S3) or not bucket:
        raise StoreError(
            text,
            expected="a folder, or s3://bucket/prefix",
            got="another address",
            remedy="Correct the path of the store.",
        )
    try:
        import s3fs  # noqa: F401  # what UPath opens s3:// with
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
    path.fs.retries = 1  # type: ignore[attr-defined]  # else it would try five times what its client has tried five times
    return cast(Path, path)


def is_remote(path: Path) -> bool:
    """Whether the path is that of an object and not of a file."""
    return not isinstance(path, PurePath)


def make_scan_options(path: Path) -> dict[str, str] | None:
    """What Polars has to be told to read this path; keys it finds by itself."""
    if not is_remote(path):
        return None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return {}
    return {
        "aws_endpoint_url": endpoint,
        "aws_allow_http": str(endpoint.startswith("http://")).lower(),
    }
