"""JSON files with a checksum of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

DIGEST_KEY: Final = "sha256 of the rest"
"""Key of the checksum: SHA-256 of the canonical JSON of all other keys."""


def seal(content: Mapping[str, Any], indent: int | None = 1) -> bytes:
    """Return `content` as JSON with the SHA-256 of its canonical form as the last key."""
    sealed = {**content, DIGEST_KEY: _compute_digest(content)}
    return (json.dumps(sealed, indent=indent, allow_nan=False) + "\n").encode()


def unseal(data: bytes) -> dict[str, Any]:
    """Parse sealed JSON and verify its checksum; files of older versions have none.

    Examples:
        >>> unseal(seal({"format": 3})), unseal(b'{"format": 2}')
        ({'format': 3}, {'format': 2})

    Raises:
        ValueError: The text is not a JSON object, or its checksum does not match.
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, got {type(content).__name__}")
    digest = content.pop(DIGEST_KEY, None)
    is_key_changed = digest is None and any(_is_digest_of_rest(content, key) for key in content)
    if is_key_changed or (digest is not None and digest != _compute_digest(content)):
        raise ValueError("its bytes changed since it was written (different SHA-256)")
    return content


def _is_digest_of_rest(content: dict[str, Any], key: str) -> bool:
    """Return whether a value is a checksum with a damaged key, which would go unnoticed."""
    value = content[key]
    if not isinstance(value, str) or len(value) != hashlib.sha256().digest_size * 2:
        return False
    return value == _compute_digest({name: other for name, other in content.items() if name != key})


def _compute_digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
