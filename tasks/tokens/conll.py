"""CoNLL files, written again with other tags, or new."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.data.conll import COMMENT, decode_file, split_cells
from tasks.study.errors import Problem, StudyError


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
    return len(row) != len(first) and bool(COMMENT.match(line))


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
