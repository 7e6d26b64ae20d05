"""Corrected tags by the verdicts of a review, in the format of the table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastif import InputError
from fastif.tokens import Span, compare_spans, encode_spans
from tasks.study.errors import Problem
from tasks.tokens.conll import rewrite_conll
from tasks.tokens.read_tagged import JSON_LINES, PARQUET
from tasks.tokens.span_review import SpanVerdict, read_review
from tasks.tokens.span_studio import read_span_tasks
from tasks.tokens.tagged_records import RecordColumns, rewrite_json_lines, rewrite_parquet
from tasks.tokens.tagged_table import TaggedTable, raise_problems


@dataclass(frozen=True)
class AppliedVerdicts:
    """Corrected spans of a table.

    Attributes:
        spans: Corrected spans of each sentence.
        changed: Positions of the sentences with other spans than before.
        num_changes: Number of spans that were added, removed or altered.
    """

    spans: list[list[Span]]
    changed: list[int]
    num_changes: int


def apply_verdicts(
    table: TaggedTable, verdicts: Sequence[SpanVerdict], path: Path
) -> AppliedVerdicts:
    """Replace given spans by the right ones.

    Args:
        table: Tagged sentences.
        verdicts: Verdicts on some spans.
        path: Review file, for messages.

    Raises:
        StudyError: Verdicts on a sentence contradict, or their spans overlap.
    """
    spans = [list(given) for given in table.spans]
    problems, decided, num_changes = [], {}, 0
    for verdict in verdicts:
        row = table.find_sentence(verdict.sentence_id)
        assert row is not None  # checked when it was read
        key = (row, verdict.given or verdict.right)
        earlier = decided.setdefault(key, verdict)
        if earlier is not verdict and earlier.right != verdict.right:
            expected = f"the verdict of {earlier.place}"
            problems.append(Problem(verdict.place, expected, "another one", "keep one of them"))
        if earlier is not verdict or verdict.given == verdict.right:
            continue
        num_changes += 1
        if verdict.given is not None:
            spans[row].remove(verdict.given)
        if verdict.right is not None:
            spans[row].append(verdict.right)
    changed = [row for row, given in enumerate(table.spans) if sorted(spans[row]) != given]
    for row in changed:
        sentence = table.sentences[row]
        try:
            encode_spans(spans[row], len(sentence.words), table.scheme)
        except InputError as error:
            where = f"sentence {sentence.id}"
            problems.append(Problem(where, error.expected, error.got, error.remedy))
    raise_problems(path, problems)
    return AppliedVerdicts([sorted(row) for row in spans], changed, num_changes)


def apply_review(table: TaggedTable, path: Path) -> AppliedVerdicts:
    """Apply a review file, or a JSON export of Label Studio.

    Raises:
        StudyError: The file does not belong to the table, or its spans cannot be encoded.
    """
    if path.suffix.lower() != ".json":
        return apply_verdicts(table, read_review(path, table), path)
    verdicts = [
        SpanVerdict(table.sentences[row].id, difference.given, difference.other, f"sentence {row}")
        for row, spans in read_span_tasks(path, table).items()
        for difference in compare_spans(table.spans[row], spans)
    ]
    return apply_verdicts(table, verdicts, path)


def write_corrected(
    table: TaggedTable, applied: AppliedVerdicts, columns: RecordColumns, target: Path
) -> None:
    """Write the corrected table in its own format; what was not changed stays as it is.

    Raises:
        InputError: The target exists, or is of another format.
    """
    if target.suffix.lower() != table.path.suffix.lower():
        raise InputError(
            f"{target}",
            f"a file of the same format, {table.path.suffix or 'without a suffix'}",
            target.suffix or "none",
            "Choose a name with this suffix.",
        )
    check_new_file(target)
    tags = {
        table.sentences[row].position: encode_spans(
            applied.spans[row], len(table.sentences[row].words), table.scheme
        )
        for row in applied.changed
    }
    suffix = table.path.suffix.lower()
    if suffix in PARQUET:
        rewrite_parquet(table.path, columns, tags, target)
        return
    is_lines = suffix in JSON_LINES
    text = rewrite_json_lines(table.path, columns, tags) if is_lines else None
    target.write_bytes((text or rewrite_conll(table.path, tags)).encode())


def check_new_file(path: Path) -> None:
    """Refuse a file that exists, or a folder that does not.

    Raises:
        InputError: With the path.
    """
    if path.exists() or path.is_symlink():
        remedy = "Choose another name, or remove the file: nothing is overwritten."
        raise InputError(f"{path}", "a new file", "one that exists", remedy)
    if not path.parent.is_dir():
        raise InputError(f"{path}", "an existing folder", f"{path.parent}", "Make the folder.")
