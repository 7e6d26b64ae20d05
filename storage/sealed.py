"""Small JSON files that carry a digest of their own content, so that a changed byte is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

DIGEST: Final = "sha256 of the rest"


def seal(stated: Mapping[str, Any], indent: int | None = 1) -> bytes:
    """JSON of `stated` with the digest of its canonical form as the last key."""
    sealed = {**stated, DIGEST: _digest(stated)}
    return (json.dumps(sealed, indent=indent, allow_nan=False) + "\n").encode()


def unseal(data: bytes) -> dict[str, Any]:
    """Give back what was sealed; files of before there was a digest pass without one.

    >>> unseal(seal({"format": 3})), unseal(b'{"format": 2}')
    ({'format': 3}, {'format': 2})

    Raises:
        ValueError: not a JSON object, or other content than was sealed.
    """
    stated = json.loads(data)
    if not isinstance(stated, dict):
        raise ValueError(f"expected a JSON object, got {type(stated).__name__}")
    digest = stated.pop(DIGEST, None)
    if digest is not None and digest != _digest(stated):
        raise ValueError("its bytes changed since it was written (other sha256)")
    return stated


def _digest(stated: Mapping[str, Any]) -> str:
    text = json.dumps(stated, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
