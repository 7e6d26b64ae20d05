"""Display of a group's value, unambiguous among the names that fastif itself uses."""

import json

ALL, NO_VALUE = "(all)", "(no value)"
"""Names for all rows together and for rows without a value; such names are in parentheses."""


def format_group_value(value: str | None) -> str:
    """Return the value as it is; in quotes if it is in parentheses, blank or padded with blanks.

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
