"""Records of sentences, in JSON Lines or Parquet: a list of words and a list of tags each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.data.conll import decode_file
from tasks.data.tagged_sentence import TaggedSentence, raise_problems
from tasks.study.errors import Problem, StudyError, format_value, join_some, suggest


@dataclass(frozen=True)
class RecordColumns:
    """Columns of a table of tagged sentences.

    Attributes:
        words: Column with the list of words.
        tags: Column with the list of tags, or of class numbers.
        id: Column with the ids of the sentences; None to number them.
        document: Column with the documents that sentences are part of; None for none.
        names: Tags of the class numbers, in order; None where tags are texts or the file names
            them.
    """

    words: str = "tokens"
    tags: str = "tags"
    id: str | None = None
    document: str | None = None
    names: Sequence[str] | None = None


def read_json_lines(path: Path, columns: RecordColumns) -> list[TaggedSentence]:
    """Read tagged sentences from JSON Lines.

    Raises:
        StudyError: A line is no JSON object, or its record is not a tagged sentence.
    """
    records, problems = [], []
    for number, line in enumerate(decode_file(path).removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(f"line {number}", "a JSON object", f"{error}", "correct it"))
            continue
        if not isinstance(record, dict):
            got = format_value(record, 40)
            problems.append(Problem(f"line {number}", "a JSON object", got, "correct it"))
            continue
        records.append((f"line {number}", number - 1, record))
    raise_problems(path, problems)
    return _make_sentences(path, records, columns, columns.names)


def read_parquet(path: Path, columns: RecordColumns) -> list[TaggedSentence]:
    """Read tagged sentences from Parquet; the names of class numbers may be those of `datasets`.

    Raises:
        StudyError: The file cannot be read, lacks a column, or a row is not a tagged sentence.
    """
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        got = f"{error}".splitlines()[0]
        raise StudyError(path, [Problem("file", "a Parquet file", got, "correct it")]) from error
    wanted = [columns.words, columns.tags, columns.id, columns.document]
    selected = [name for name in wanted if name is not None and name in schema.names]
    table = pq.read_table(path, columns=selected)
    records = [(f"row {n + 1}", n, record) for n, record in enumerate(table.to_pylist())]
    names = columns.names or _read_class_names(schema, columns.tags)
    return _make_sentences(path, records, columns, names, schema.names)


def _read_class_names(schema: pa.Schema, column: str) -> Sequence[str] | None:
    """Return the class names that the library `datasets` stores with a column; None without."""
    try:
        stored = json.loads((schema.metadata or {})[b"huggingface"])
        feature = stored["info"]["features"][column]
        names = feature.get("feature", feature).get("names")
    except (KeyError, ValueError, AttributeError, TypeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _make_sentences(
    path: Path,
    records: Sequence[tuple[str, int, Mapping[str, Any]]],
    columns: RecordColumns,
    names: Sequence[str] | None,
    available: Sequence[str] | None = None,
) -> list[TaggedSentence]:
    sentences, problems = [], []
    for place, position, record in records:
        known = list(available or record)
        wanted = {"words": columns.words, "tags": columns.tags}
        wanted |= {"id": columns.id} if columns.id else {}
        wanted |= {"document": columns.document} if columns.document else {}
        missing = [(key, name) for key, name in wanted.items() if name not in known]
        if missing:
            problems += [_make_missing(place, key, name, known) for key, name in missing]
            if available is not None:
                break
            continue
        try:
            words = _check_words(record[columns.words])
            tags = _check_tags(record[columns.tags], len(words), names)
            sentence_id = _check_id(record[columns.id]) if columns.id else f"{len(sentences) + 1}"
        except _RecordError as error:
            problems.append(Problem(place, *error.args))
            continue
        document = None if columns.document is None else record[columns.document]
        sentences.append(
            TaggedSentence(
                sentence_id,
                tuple(words),
                tuple(tags),
                place,
                position,
                None if document is None else f"{document}",
            )
        )
    raise_problems(path, problems)
    return sentences


class _RecordError(Exception):
    """What is expected of a record, what is there, and the remedy."""


def _make_missing(place: str, key: str, name: str, known: Sequence[str]) -> Problem:
    remedy = suggest(name, known) or f"set --{key} to one of these"
    got = f"the columns {join_some(known)}"
    return Problem(place, f"a column {format_value(name)}", got, remedy)


def _check_id(value: object) -> str:
    if value is None or isinstance(value, (list, dict)):
        raise _RecordError("an id", format_value(value, 40), "correct the id column")
    return f"{value}"


def _check_words(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise _RecordError("a list of words", format_value(value, 60), "split the text into words")
    if not value:
        raise _RecordError("1 or more words", "an empty list", "remove the sentence")
    return value


def _check_tags(value: object, count: int, names: Sequence[str] | None) -> list[str]:
    if not isinstance(value, list) or len(value) != count:
        got = f"{len(value)} tags" if isinstance(value, list) else format_value(value, 60)
        raise _RecordError(f"a list of {count} tags, one for each word", got, "correct the record")
    return [_check_tag(tag, names) for tag in value]


def _check_tag(tag: object, names: Sequence[str] | None) -> str:
    if isinstance(tag, str) and tag:
        return tag
    if isinstance(tag, int) and not isinstance(tag, bool):
        if names is None:
            expected = "tags as texts, or class numbers with their names"
            raise _RecordError(expected, f"the number {tag}", "give the names with --names")
        if 0 <= tag < len(names):
            return names[tag]
        got = f"the class number {tag}"
        raise _RecordError(f"class numbers from 0 to {len(names) - 1}", got, "correct the record")
    raise _RecordError("a tag for every word", format_value(tag, 40), "correct the record")


def rewrite_json_lines(
    path: Path, columns: RecordColumns, tags: Mapping[int, Sequence[str]]
) -> str:
    """Return JSON Lines with other tags in some records; other lines stay byte for byte."""
    lines = decode_file(path).split("\n")
    for position, new_tags in tags.items():
        line = lines[position]
        mark = "\ufeff" if line.startswith("\ufeff") else ""
        record = json.loads(line.removeprefix("\ufeff"))
        record[columns.tags] = _encode_tags(record[columns.tags], new_tags, columns.names)
        end = "\r" if line.endswith("\r") else ""
        lines[position] = f"{mark}{json.dumps(record, ensure_ascii=False)}{end}"
    return "\n".join(lines)


def rewrite_parquet(
    path: Path, columns: RecordColumns, tags: Mapping[int, Sequence[str]], target: Path
) -> None:
    """Write a Parquet file with other tags in some rows; other columns and metadata stay."""
    table = pq.read_table(path)
    names = columns.names or _read_class_names(table.schema, columns.tags)
    index = table.schema.get_field_index(columns.tags)
    values = table.column(index).to_pylist()
    for position, new_tags in tags.items():
        values[position] = _encode_tags(values[position], new_tags, names)
    field = table.schema.field(index)
    column = pa.chunked_array([pa.array(values, field.type)])
    pq.write_table(table.set_column(index, field, column), target)


def _encode_tags(
    given: Sequence[object], new_tags: Sequence[str], names: Sequence[str] | None
) -> list[object]:
    """Return tags in the form of the given ones: texts, or class numbers."""
    if names is None or not all(isinstance(tag, int) for tag in given):
        return list(new_tags)
    unknown = sorted(set(new_tags) - set(names))
    if unknown:
        problem = Problem("names", f"the tags {join_some(unknown)}", join_some(names), "add them")
        raise StudyError("class numbers", [problem])
    return [list(names).index(tag) for tag in new_tags]
