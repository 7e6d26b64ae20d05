"""Edits of JSON tables: all other values and the white space stay as they are."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tasks.data.row_edits import RowEdits
from tasks.study.spelling import normalize_nfc

_SPACE = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder()


def edit_json_lines(text: str, edits: RowEdits) -> str:
    r"""Replace values and drop rows of a JSON Lines table; blank lines stay.

    >>> edit_json_lines('{"a": 1.50}\n\n{"a":2}\n', RowEdits("a", {0: 2}, {1}))
    '{"a": 2}\n\n'

    Args:
        text: The table.
        edits: Edits by position among the lines that are not blank.
    """
    parts, position = [], 0
    for line in _split_lines(text):
        if not line.strip():
            parts.append(line)
            continue
        if position not in edits.dropped:
            parts.append(_edit_object(line, position, edits))
        position += 1
    return "".join(parts)


def edit_json(text: str, edits: RowEdits) -> str:
    """Replace values and drop rows of a JSON array of objects.

    >>> edit_json('[{"a": 1}, {"a": 2},  {"a": 3}]', RowEdits("a", {2: 1}, {0}))
    '[{"a": 2},  {"a": 1}]'

    Args:
        text: The table.
        edits: Edits by position in the array.
    """
    spans = list(_find_elements(text))
    kept = [position for position in range(len(spans)) if position not in edits.dropped]
    parts = [text[: spans[0][0]]]
    for index, position in enumerate(kept):
        start, end = spans[position]
        # The space between two rows is that before the later one.
        parts += [text[spans[position - 1][1] : start]] if index else []
        parts.append(_edit_object(text[start:end], position, edits))
    return "".join([*parts, text[spans[-1][1] :]])


def _split_lines(text: str) -> list[str]:
    """Lines that end in a line feed, as readers split them; no other line ends."""
    lines = text.split("\n")
    return [*(f"{line}\n" for line in lines[:-1]), *filter(None, lines[-1:])]


def _edit_object(text: str, position: int, edits: RowEdits) -> str:
    if position not in edits.cells:
        return text
    start, end = _find_value(text, _skip_space(text, 0), edits.column)
    return f"{text[:start]}{_format_json(edits.cells[position], text)}{text[end:]}"


def _format_json(cell: Any, text: str) -> str:
    return json.dumps(cell, ensure_ascii=text.isascii(), default=str)


def _find_value(text: str, start: int, column: str) -> tuple[int, int]:
    """Start and end of a value of an object; a dotted name is that of a nested one.

    Raises:
        ValueError: no such key.
    """
    members = {normalize_nfc(key): span for key, span in _find_members(text, start)}
    if column in members:
        return members[column]
    for key, (value, _) in members.items():
        if column.startswith(f"{key}.") and text[value] == "{":
            return _find_value(text, value, column[len(key) + 1 :])
    raise ValueError(f"a row without the key {column}")


def _find_members(text: str, start: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Keys of an object, each with start and end of its value."""
    place = _skip_space(text, start + 1)
    while text[place] != "}":
        key, place = _decoder.raw_decode(text, place)
        value = _skip_space(text, _skip_space(text, place) + 1)  # after the colon
        _, end = _decoder.raw_decode(text, value)
        yield key, (value, end)
        place = _skip_space(text, end)
        place = _skip_space(text, place + 1) if text[place] == "," else place


def _find_elements(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each element of an array."""
    place = _skip_space(text, _skip_space(text, 0) + 1)
    while text[place] != "]":
        _, end = _decoder.raw_decode(text, place)
        yield place, end
        place = _skip_space(text, end)
        place = _skip_space(text, place + 1) if text[place] == "," else place


def _skip_space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return start if match is None else match.end()
