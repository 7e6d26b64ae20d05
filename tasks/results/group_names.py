"""A group's value for the eye: it reads like no other value and like no word of ours."""

import json

ALL, NO_VALUE = "(all)", "(no value)"
"""Our words stand in parentheses."""


def name_of(value: str | None) -> str:
    """The value as it is; in quotes where it could be taken for a word of ours, or not be seen.

    >>> name_of("north"), name_of(None), name_of("None"), name_of("(all)"), name_of("")
    ('north', '(no value)', 'None', '"(all)"', '""')
    """
    if value is None:
        return NO_VALUE
    ours = value.startswith("(") and value.endswith(")")
    unseen = value != value.strip() or not value
    return json.dumps(value, ensure_ascii=False) if ours or unseen or value[0] == '"' else value
