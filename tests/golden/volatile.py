"""Contents of a store other than results: the keys and columns whose values are never compared."""

from typing import Any

MASK = "*"
TIMES = ("created", "committed", "finished", "when", "seconds")
MACHINE = ("memory", "disk", "versions", "host", "pid", "rates")
FILES = ("bytes", "sha256", "sha256 of the rest")
"""They follow from times and versions in the files; what is in these is compared itself."""
PROSE = ("reason",)
"""Why a method was chosen, with seconds in it. The column `reason` of solves is compared."""

VOLATILE = frozenset((*TIMES, *MACHINE, *FILES, *PROSE))


def mask_volatile(value: Any, key: str = "") -> Any:
    """JSON with volatile values replaced; the keys of a volatile object stay."""
    if isinstance(value, dict):
        if key in VOLATILE:
            return dict.fromkeys(value, MASK)
        return {name: mask_volatile(inner, name) for name, inner in value.items()}
    if key in VOLATILE and value is not None:
        return MASK
    if isinstance(value, list):
        return [mask_volatile(inner) for inner in value]
    return value
