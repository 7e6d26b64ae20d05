"""Validation of the hyper-parameters of solvers."""

import math
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fastif.errors import InputError


def check_positive(settings: Any) -> None:
    """Refuse numbers that are not positive and finite (a seed may be 0), and unknown literals.

    A tolerance may be at most 1, the relative residual of x = 0: above it, everything converges.

    Raises:
        InputError: With the name of the hyper-parameter.
    """
    hints = get_type_hints(type(settings))
    for item in fields(settings):
        value, allowed = getattr(settings, item.name), _allowed_words(hints[item.name])
        minimum = 0 if item.name == "seed" else math.ulp(0.0)
        if isinstance(value, str):
            is_valid, expected = value in allowed, " or ".join(f'"{option}"' for option in allowed)
        elif isinstance(value, int | float):
            is_valid = math.isfinite(value) and value >= minimum
            expected = "a number of 0 or more" if item.name == "seed" else "a finite number > 0"
            expected += "".join(f' or "{option}"' for option in allowed)
            if item.name == "tolerance" and value > 1:
                is_valid, expected = False, "at most 1, the relative residual of a solution of 0"
        else:
            continue
        if not is_valid:
            raise InputError(
                f"[solver] {item.name}",
                expected,
                f"{value}",
                f"Remove it for the default, {item.default}.",
            )


def _allowed_words(hint: object) -> list[str]:
    """Return the strings that a field may hold by its annotation."""
    if get_origin(hint) is Literal:
        return [value for value in get_args(hint) if isinstance(value, str)]
    return [value for member in get_args(hint) for value in _allowed_words(member)]
