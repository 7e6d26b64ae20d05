"""CoNLL files: a word a line with its tag in the last column, and blank lines between sentences."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.study.errors import Problem, StudyError
from tasks.tokens.tagged_table import TaggedSentence, raise_problems

DOCUMENT = "-DOCSTART-"
_COMMENT = re.compile(r"#\s")
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

    Cells are separated by tabs if every line with a word has one, else by spaces. The word is the
    first cell and the tag the last. A line of -DOCSTART- begins a document. Lines that begin with #
    and a space are comments where they have another number of cells than the lines of words.

    Raises:
        StudyError: A line has another number of cells than most, or an empty word or tag.
    """
    lines = decode_file(path).removeprefix("\ufeff").split("\n")
    cells = split_cells(lines)
    width = Counter(map(len, cells.values())).most_common(1)
    problems, sentences, rows, comments = [], [], [], 0
    document, document_count = None, 0
    for number in range(len(lines) + 1):
        row = cells.get(number)
        if row is not None and len(row) != width[0][0] and _COMMENT.match(lines[number]):
            comments += 1
            continue
        if row is not None and not lines[number].startswith(DOCUMENT):
            problems += _find_problems(number, row, width[0][0])
            rows.append(number)
            continue
        if rows:
            sentences.append(_make_sentence(len(sentences) + 1, rows, cells, document))
            rows = []
        if row is not None:
            document_count += 1
            document = f"{document_count}"
    raise_problems(path, problems)
    notes = [f"{comments:,} lines of comments are left out"] if comments else []
    return sentences, notes


def split_cells(lines: Sequence[str]) -> Mapping[int, list[str]]:
    """Split every line that is not blank into its cells, by the number of the line from 0."""
    stripped = {number: line.rstrip("\r") for number, line in enumerate(lines) if line.strip()}
    words = [line for line in stripped.values() if not _is_mark(line)]
    if not words or not all("\t" in line for line in words):
        return {number: _CELLS.split(line.strip(" \t")) for number, line in stripped.items()}
    rows = ((number, line.split("\t")) for number, line in stripped.items())
    return {number: [cell.strip(" ") for cell in row] for number, row in rows}


def _is_mark(line: str) -> bool:
    return line.startswith(DOCUMENT) or bool(_COMMENT.match(line))


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


def _make_sentence(
    number: int, rows: Sequence[int], cells: Mapping[int, Sequence[str]], document: str | None
) -> TaggedSentence:
    return TaggedSentence(
        f"{number}",
        tuple(cells[row][0] for row in rows),
        tuple(cells[row][-1] for row in rows),
        f"line {rows[0] + 1}",
        rows[0],
        document,
    )


def rewrite_conll(path: Path, tags: Mapping[int, Sequence[str]]) -> str:
    """Return the text of a CoNLL file with other tags in some sentences, else byte for byte.

    Args:
        path: Path of the file.
        tags: New tags of a sentence, by the number of its first line.
    """
    lines = decode_file(path).split("\n")
    cells = split_cells([lines[0].removeprefix("\ufeff"), *lines[1:]])
    for first, new_tags in tags.items():
        number = first
        for tag in new_tags:
            while number not in cells or _is_skipped(cells[number], cells[first], lines[number]):
                number += 1  # a comment within the sentence
            lines[number] = _replace_last_cell(lines[number], cells[number][-1], tag)
            number += 1
    return "\n".join(lines)


def _is_skipped(row: Sequence[str], first: Sequence[str], line: str) -> bool:
    return len(row) != len(first) and bool(_COMMENT.match(line))


def _replace_last_cell(line: str, given: str, tag: str) -> str:
    """Return a line with another last cell; what is after it stays."""
    start = line.rindex(given)
    return line[:start] + tag + line[start + len(given) :]


def format_conll(sentences: Sequence[tuple[Sequence[str], Sequence[str]]]) -> str:
    """Return sentences as a CoNLL file of two columns, separated by tabs.

    Raises:
        StudyError: A word has a tab or a line break, or is empty.
    """
    blocks = []
    for number, (words, tags) in enumerate(sentences, 1):
        unfit = (word for word in words if not word.strip() or set(word) & set("\t\n\r"))
        wrong = next(unfit, None)
        if wrong is not None:
            expected = "words without tabs and line breaks"
            problem = Problem(f"sentence {number}", expected, repr(wrong), "export JSON Lines")
            raise StudyError("CoNLL file", [problem])
        blocks.append("".join(f"{w}\t{t}\n" for w, t in zip(words, tags, strict=True)))
    return "\n".join(blocks)
