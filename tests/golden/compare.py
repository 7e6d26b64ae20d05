"""Where two documents differ, in lines that name the place."""

import math
import re
from collections.abc import Iterator
from typing import Any

from tests.golden.rounding import BITS

TOLERANCE = (1e-3, 2e-6)
"""Of the largest number of the same list, and of any number: what processors may differ in."""
WIDE = (5e-2, 2e-5)
"""Of what stops an optimizer early or is nothing but rounding: see `tolerance`."""
ROUGH = re.compile(r"mislabels|verdicts|damping\.json|/chosen|residual")
SHOWN = 60


def expand_references(document: Any) -> Any:
    """A document in which every file has its own content."""
    files = document.get("files") if isinstance(document, dict) else None
    if files is None:
        return document
    return {**document, "files": {place: files[of.get("as", place)] for place, of in files.items()}}


def differences(expected: Any, got: Any, exact: bool, place: str = "") -> Iterator[str]:
    """Every place where they differ.

    Args:
        expected, got: JSON documents.
        exact: also in what is marked `BITS`, and floats to the last digit.
        place: of both in their documents.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        yield from _of_objects(expected, got, exact, place)
    elif isinstance(expected, list) and isinstance(got, list):
        yield from _of_lists(expected, got, exact, place)
    elif not _same(expected, got, _allowed(place, expected, exact)):
        yield f"{place}: expected {_short(expected)}, got {_short(got)}"


def _of_objects(expected: dict, got: dict, exact: bool, place: str) -> Iterator[str]:
    if place.endswith(BITS) and not exact:
        return
    for name in expected:
        where = f"{place}/{name}" if place else name
        if name not in got:
            yield f"{where}: missing"
        elif name != BITS or exact:
            yield from differences(expected[name], got[name], exact, where)
    for name in got:
        if name not in expected:
            yield f"{place}/{name}: not expected"
    if sorted(expected) == sorted(got) and list(expected) != list(got):
        yield f"{place}: expected the order {_short(list(expected))}, got {_short(list(got))}"


def _of_lists(expected: list, got: list, exact: bool, place: str) -> Iterator[str]:
    if len(expected) != len(got):
        yield f"{place}: expected {len(expected)} values, got {len(got)}"
        return
    numbers = [
        abs(value) for value in expected if isinstance(value, float) and math.isfinite(value)
    ]
    largest = max(numbers, default=0.0)
    for number, (value, other) in enumerate(zip(expected, got, strict=True)):
        if isinstance(value, dict | list):
            yield from differences(value, other, exact, f"{place}[{number}]")
        elif not _same(value, other, _allowed(place, largest, exact)):
            yield f"{place}[{number}]: expected {_short(value)}, got {_short(other)}"


def tolerance(place: str) -> tuple[float, float]:
    """Relative and absolute tolerance.

    Wide for probabilities of wrong labels and for agreements with retrained models, which are where
    an optimizer stopped, and for residuals, which are where single precision ends.
    """
    return WIDE if ROUGH.search(place) else TOLERANCE


def _allowed(place: str, size: Any, exact: bool) -> float | None:
    """The largest difference of two floats; None for none at all."""
    relative, absolute = tolerance(place)
    return None if exact else absolute + relative * (abs(size) if _is_number(size) else 0.0)


def _same(expected: Any, got: Any, allowed: float | None) -> bool:
    floats = isinstance(expected, float) or isinstance(got, float)
    if allowed is not None and floats and _is_number(expected) and _is_number(got):
        return abs(expected - got) <= allowed
    return type(expected) is type(got) and expected == got


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = f"{value!r}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
