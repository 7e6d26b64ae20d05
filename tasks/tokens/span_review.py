"""Review files of doubtful spans: one row a span, with the verdict to fill in."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fastif.tokens import Span
from fastif.wrong_spans.span_doubts import SpanDoubt
from tasks.data.csv_escape import escape_formulas, unescape_formula
from tasks.study.errors import Problem, StudyError, join_some
from tasks.tokens.tagged_table import TaggedTable, raise_problems

COLUMNS = (
    "id",
    "probability",
    "kind",
    "text",
    "given_start",
    "given_end",
    "given_type",
    "suggested_start",
    "suggested_end",
    "suggested_type",
    "verdict",
    "right_start",
    "right_end",
    "right_type",
    "sentence",
)
KEEP, ACCEPT, REMOVE, CHANGE = VERDICTS = ("keep", "accept", "remove", "change")
"""Verdicts: given annotation, suggestion, no span, or the span of the columns right_*."""


@dataclass(frozen=True)
class SpanVerdict:
    """Verdict on a doubtful span.

    Attributes:
        sentence_id: Id of the sentence.
        given: Given span; None for one that may be missed.
        right: Right span in its place; None for none.
        place: Place in the review file for messages.
    """

    sentence_id: str
    given: Span | None
    right: Span | None
    place: str


def write_review(table: TaggedTable, doubts: Iterable[SpanDoubt]) -> str:
    """Write a review file as CSV. Words are counted from 1, and the end is the last word."""
    rows = []
    for doubt in doubts:
        sentence = table.sentences[doubt.sentence]
        place = doubt.place
        words = " ".join(sentence.words[place.start : place.end])
        rows.append(
            [
                sentence.id,
                f"{doubt.probability:.4f}",
                doubt.kind,
                words,
                *_format_span(doubt.given),
                *_format_span(doubt.suggested),
                *[""] * 4,
                mark_span(sentence.words, place),
            ]
        )
    frame = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")
    return escape_formulas(frame).write_csv()


def mark_span(words: Sequence[str], span: Span) -> str:
    """Return a sentence with a span in brackets."""
    before, after = words[: span.start], words[span.end :]
    return " ".join([*before, f"[{' '.join(words[span.start : span.end])}]", *after])


def _format_span(span: Span | None) -> list[str]:
    return ["", "", ""] if span is None else [f"{span.start + 1}", f"{span.end}", span.kind]


def read_review(path: Path, table: TaggedTable) -> list[SpanVerdict]:
    """Read the verdicts of a review file; rows without a verdict are left out.

    Raises:
        StudyError: A verdict is none of `VERDICTS`, or a row does not belong to the table.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem("file", "a review file in UTF-8", f"{error}", "correct the path")
        raise StudyError(path, [problem]) from error
    separator = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    missing = [name for name in COLUMNS[:-1] if name not in (rows.fieldnames or ())]
    if missing:
        problem = Problem("columns", join_some(missing), "none", "keep the columns of the file")
        raise StudyError(path, [problem])
    verdicts, problems = [], []
    for number, row in enumerate(rows, 2):
        try:
            verdict = _parse_row(row, table, f"row {number - 1}")
        except _RowError as error:
            problems.append(Problem(f"row {number - 1}", *error.args))
            continue
        if verdict is not None:
            verdicts.append(verdict)
    raise_problems(path, problems)
    return verdicts


class _RowError(Exception):
    """What is expected of a row, what is there, and the remedy."""


def _parse_row(row: dict[str, str], table: TaggedTable, place: str) -> SpanVerdict | None:
    verdict = (row["verdict"] or "").strip().lower()
    if not verdict:
        return None
    if verdict not in VERDICTS:
        raise _RowError(" or ".join(VERDICTS), verdict, "correct the column verdict")
    position = table.find_sentence(unescape_formula(row["id"]))
    if position is None:
        raise _RowError("the id of a sentence of the table", row["id"], "keep the column id")
    sentence = table.sentences[position]
    given = _parse_span(row, "given", len(sentence.words))
    if given is not None and given not in table.spans[position]:
        text = f"{given.kind} at words {given.start + 1} to {given.end}"
        raise _RowError("a given span of the sentence", text, "review the present table again")
    suggested = _parse_span(row, "suggested", len(sentence.words))
    right = {KEEP: given, ACCEPT: suggested, REMOVE: None}.get(verdict)
    if verdict == CHANGE:
        right = _parse_span(row, "right", len(sentence.words))
        if right is None:
            raise _RowError("the right span in right_start, right_end and right_type", "none", FILL)
    return SpanVerdict(sentence.id, given, right, place)


FILL = 'fill them in, or write "remove"'


def _parse_span(row: dict[str, str], name: str, count: int) -> Span | None:
    """Return the span of three columns; None if they are empty."""
    start, end, kind = (
        unescape_formula((row[f"{name}_{part}"] or "").strip()) for part in ("start", "end", "type")
    )
    if not start and not end and not kind:
        return None
    try:
        span = Span(int(start) - 1, int(end), kind)
    except ValueError:
        got = join_some([start or "nothing", end or "nothing"])
        raise _RowError(f"{name}_start and {name}_end as whole numbers", got, "correct") from None
    if not 0 <= span.start < span.end <= count:
        got = f"{start} to {end}"
        raise _RowError(f"words from 1 to {count}, the first before the last", got, "correct")
    return span
