"""CoNLL files: a word a line with its tag in the last column, and blank lines between sentences."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.data.tagged_sentence import TaggedSentence, raise_problems
from tasks.study.errors import Problem, StudyError

DOCUMENT = "-DOCSTART-"
COMMENT = re.compile(r"#\s")
_CELLS = re.compile(r"[ \t]+")


def decode_file(path: Path) -> str:
    """Return the text of a file in UTF-8, with its byte order mark and line ends.

    Raises:
        StudyError: The file is not there, or is in another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = Problem("file", "a readable file", error.strerror or str(error), "correct it")
        raise StudyError(path, [problem]) from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        got = f"the byte 0x{content[error.start]:02x}"
        problem = Problem(f"line {line}", "text in UTF-8", got, "save the file in UTF-8")
        raise StudyError(path, [problem]) from error


def read_conll(path: Path) -> tuple[list[TaggedSentence], list[str]]:
    """Read the sentences of a CoNLL file, with notes on lines that are none of them.

    The word is the first cell of a line and the tag the last; see `parse_conll`.

    Raises:
        StudyError: A line has another number of cells than most, or an empty word or tag.
    """
    blocks, notes = parse_conll(decode_file(path).removeprefix("\ufeff"), path)
    sentences = [
        TaggedSentence(
            f"{number}",
            tuple(row[0] for row in block.rows),
            tuple(row[-1] for row in block.rows),
            f"line {block.first + 1}",
            block.first,
            block.document,
        )
        for number, block in enumerate(blocks, 1)
    ]
    return sentences, notes


class ConllBlock(NamedTuple):
    """Sentence of a CoNLL file.

    Attributes:
        first: Number of its first line, from 0.
        rows: Cells of each line.
        document: Number of the document that it is part of; None if the file has none.
    """

    first: int
    rows: Sequence[Sequence[str]]
    document: str | None


def parse_conll(text: str, path: Path) -> tuple[list[ConllBlock], list[str]]:
    """Parse the text of a CoNLL file, and note what is left out.

    Cells are separated by tabs if every line with a word has one, else by spaces. A line of
    -DOCSTART- begins a document. Lines that begin with # and a space are comments where they have
    another number of cells than the lines of words.

    Args:
        text: Text of the file, without a byte order mark.
        path: Path of the file, for messages.

    Raises:
        StudyError: A line has another number of cells than most, or an empty word or tag.
    """
    lines = text.split("\n")
    cells = split_cells(lines)
    width = Counter(map(len, cells.values())).most_common(1)
    problems, blocks, rows, comments = [], [], [], 0
    document, document_count = None, 0
    for number in range(len(lines) + 1):
        row = cells.get(number)
        if row is not None and len(row) != width[0][0] and COMMENT.match(lines[number]):
            comments += 1
            continue
        if row is not None and not lines[number].startswith(DOCUMENT):
            problems += _find_problems(number, row, width[0][0])
            rows.append(number)
            continue
        if rows:
            blocks.append(ConllBlock(rows[0], [cells[each] for each in rows], document))
            rows = []
        if row is not None:
            document_count += 1
            document = f"{document_count}"
    raise_problems(path, problems)
    notes = [f"{comments:,} lines of comments are left out"] if comments else []
    return blocks, notes


def split_cells(lines: Sequence[str]) -> Mapping[int, list[str]]:
    """Split every line that is not blank into its cells, by the number of the line from 0."""
    stripped = {number: line.rstrip("\r") for number, line in enumerate(lines) if line.strip()}
    words = [line for line in stripped.values() if not _is_mark(line)]
    if not words or not all("\t" in line for line in words):
        return {number: _CELLS.split(line.strip(" \t")) for number, line in stripped.items()}
    rows = ((number, line.split("\t")) for number, line in stripped.items())
    return {number: [cell.strip(" ") for cell in row] for number, row in rows}


def _is_mark(line: str) -> bool:
    return line.startswith(DOCUMENT) or bool(COMMENT.match(line))


def _find_problems(number: int, row: Sequence[str], width: int) -> list[Problem]:
    """Return what is wrong with the cells of a line."""
    where = f"line {number + 1}"
    if len(row) < 2 or len(row) != width:
        expected = f"{max(width, 2)} cells, as in most lines, the word first and the tag last"
        return [Problem(where, expected, f"{len(row)}", "correct the line")]
    if "\r" in "".join(row):
        return [Problem(where, "line ends of \\n or \\r\\n", "\\r alone", "convert the file")]
    if not row[0] or not row[-1]:
        return [Problem(where, "a word and a tag", "an empty cell", "correct the line")]
    return []
