"""Words and tags of the rows of a table of sentences, for token classification."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence

import polars as pl

from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.data.read_targets import ReadTargets
from tasks.data.tag_repairs import repair_targets
from tasks.data.target_text import UNTAGGED
from tasks.data.word_text import INNER_SPACE, join_words, split_words
from tasks.study.errors import Problem, format_value, join_some, suggest
from tasks.study.spelling import normalize_nfc

MAX_SHOWN = 5
_LIST = "lists of {}, as a column of lists, as JSON, or separated by spaces"


class _CellError(Exception):
    """What is expected of a cell, what is there, and the remedy."""

    def __init__(self, expected: str, got: str, change: str) -> None:
        super().__init__(expected)
        self.expected, self.got, self.change = expected, got, change


def join_word_lists(opened: RawTable, name: str) -> tuple[RawTable, list[Problem]]:
    """Replace a column of lists of words by texts, see `join_words`.

    Args:
        opened: Columns of the table.
        name: Column with the words of each sentence.

    Returns:
        The table, and the problems of its cells.
    """

    def read(place: int) -> str | None:
        cell = cells[place]
        return None if cell is None else join_words(_check_words(_parse_list(cell, "words")))

    cells = opened.frame[name].to_list()
    texts, problems = _read_rows(opened, name, read)
    frame = opened.frame.with_columns(pl.Series(name, texts, dtype=pl.String))
    is_text = any(isinstance(cell, str) and not cell.lstrip().startswith("[") for cell in cells)
    notes = (f"{name}: the words of a cell are separated by spaces",) if is_text else ()
    return dataclasses.replace(opened, frame=frame, notes=(*opened.notes, *notes)), problems


def read_tags(
    opened: RawTable, name: str, texts: Sequence[str | None], labels: Sequence[str], required: bool
) -> ReadTargets:
    """Read a tag for each word, and repair tags that break their scheme.

    A missing tag, or the class number -100, is a word without a loss.

    Args:
        opened: Columns of the table.
        name: Column with the tags of each sentence.
        texts: Text of each sentence, see `join_words`.
        labels: Tags of the study.
        required: Whether every sentence needs tags.
    """
    cells, names = opened.frame[name].to_list(), opened.tag_names.get(name)
    positions = {label: place for place, label in enumerate(labels)}

    def read(place: int) -> tuple[int, ...] | None:
        cell, text = cells[place], texts[place]
        if text is None or (cell is None and not required):  # reported elsewhere
            return None
        if cell is None:
            raise _CellError("a tag for each word", "none", "tag these rows, or remove them")
        tags = _parse_list(cell, "tags")
        if len(tags) != (count := len(split_words(text))):
            got, change = f"{len(tags)} tags of {count} words", "correct these rows"
            raise _CellError("a tag for each word", got, change)
        row = tuple(_find_position(tag, names, positions) for tag in tags)
        if set(row) == {UNTAGGED}:
            got, change = "no word with a tag", "remove these rows, which have no loss"
            raise _CellError("1 or more tagged words", got, change)
        return row

    rows, problems = _read_rows(opened, name, read)
    if problems:
        return ReadTargets([], problems)
    repaired = repair_targets(rows, labels, opened.frame[ROW].to_list())
    problems = [Problem(f"column {name}", *problem) for problem in repaired.problems]
    notes = [f"{name}: {note}" for note in (*_count_untagged(rows), *repaired.notes)]
    return ReadTargets([*repaired.rows], problems, (*notes,))


def _count_untagged(rows: Sequence[tuple[int, ...] | None]) -> Iterator[str]:
    count = sum(row.count(UNTAGGED) for row in rows if row is not None)
    if count:
        yield f"{count:,} words have no tag, and hence no loss"


def _read_rows(
    opened: RawTable, name: str, read: Callable[[int], object]
) -> tuple[list, list[Problem]]:
    """Read every cell; cells with equal problems are one problem, with their rows."""
    values: list[object] = []
    wrong: dict[tuple[str, str], list[str]] = {}
    for place, number in enumerate(opened.frame[ROW].to_list()):
        try:
            values.append(read(place))
        except _CellError as error:
            values.append(None)
            key = error.expected, error.change
            wrong.setdefault(key, []).append(f"row {number}: {error.got}")
    problems = [
        Problem(f"column {name}", expected, join_some(rows, MAX_SHOWN), change)
        for (expected, change), rows in wrong.items()
    ]
    return values, problems


def _parse_list(cell: object, kind: str) -> list:
    """Return the entries of a cell: a list, a JSON list in a text, or words between spaces."""
    if isinstance(cell, str):
        if not cell.lstrip().startswith("["):
            return cell.split()
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            got = f"{format_value(cell, 40)}, which is no JSON"
            change = 'write lists as JSON, ["Ann", "runs"], or save the table as .parquet'
            raise _CellError(_LIST.format(kind), got, change) from None
    if not isinstance(cell, list):
        change = "use another column, or save it as lists"
        raise _CellError(_LIST.format(kind), format_value(cell, 40), change)
    return cell


def _check_words(words: Sequence[object]) -> list[str]:
    checked = [word for word in words if isinstance(word, str)]
    if len(checked) < len(words):
        wrong = next(word for word in words if not isinstance(word, str))
        raise _CellError("words as texts", format_value(wrong, 40), "correct these rows")
    marked = next((word for word in checked if INNER_SPACE in word), None)
    if marked is not None:
        change = "replace the character in these rows"
        expected = f"words without {INNER_SPACE} (U+2423), which marks a space within a word"
        raise _CellError(expected, format_value(marked, 40), change)
    return checked


def _find_position(tag: object, names: Sequence[str] | None, positions: dict[str, int]) -> int:
    """Return the position of a tag among the labels, by its name."""
    if tag is None or (isinstance(tag, int) and tag == UNTAGGED):
        return UNTAGGED
    name = str(tag)
    number = tag if isinstance(tag, int) and not isinstance(tag, bool) else None
    if number is not None and names is not None:
        if not 0 <= number < len(names):
            expected = f"class numbers from 0 to {len(names) - 1}, or -100"
            raise _CellError(expected, name, "correct these rows")
        name = names[number]
    position = positions.get(normalize_nfc(name))
    if position is not None and (number is not None or isinstance(tag, str)):
        return position
    expected = f"tags of the study: {join_some(map(format_value, positions))}"
    change = suggest(name, list(positions)) or "correct these rows, or labels if the model has them"
    if number is not None and names is None:
        change = "write the names of these class numbers into the column"
    raise _CellError(expected, format_value(tag, 40), change)
