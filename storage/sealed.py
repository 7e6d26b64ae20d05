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
    lost = digest is None and any(_seals_the_rest(stated, key) for key in stated)
    if lost or (digest is not None and digest != _digest(stated)):
        raise ValueError("its bytes changed since it was written (other sha256)")
    return stated


def _seals_the_rest(stated: dict[str, Any], key: str) -> bool:
    """Whether this is a digest whose name changed: then nothing else would look at it."""
    value = stated[key]
    if not isinstance(value, str) or len(value) != hashlib.sha256().digest_size * 2:
        return False
    return value == _digest({name: other for name, other in stated.items() if name != key})


def _digest(stated: Mapping[str, Any]) -> str:
    text = json.dumps(stated, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
