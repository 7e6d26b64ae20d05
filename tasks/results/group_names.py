"""A group's value for the eye: it reads like no other value and like no word of ours."""

import json

ALL, NO_VALUE = "(all)", "(no value)"
"""Our words stand in parentheses."""


def format_group_value(value: str | None) -> str:
    """The value as it is; in quotes where it could be taken for a word of ours, or not be seen.

    >>> tuple(map(format_group_value, ("north", None, "None", "(all)", "")))
    ('north', '(no value)', 'None', '"(all)"', '""')
    """
    if value is None:
        return NO_VALUE
    is_reserved = value.startswith("(") and value.endswith(")")
    is_invisible = value != value.strip() or not value
    return (
        json.dumps(value, ensure_ascii=False)
        if is_reserved or is_invisible or value[0] == '"'
        else value
    )
