"""Floats in few digits, and the digests that say what they are to the last bit."""

import hashlib
import math
from typing import Any

BITS = "bits"
"""Key of what only `check --exact` compares."""
DIGITS = 6


def round_floats(value: Any) -> Any:
    """JSON with floats of six digits; a float that is not finite is a text."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else f"{value}"
    if isinstance(value, dict):
        return {name: round_floats(inner) for name, inner in value.items()}
    return [round_floats(inner) for inner in value] if isinstance(value, list) else value


def digest(data: bytes | str) -> str:
    """Sixteen digits of a hash."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:16]
