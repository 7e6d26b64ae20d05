"""Reading of tagged sentences from CoNLL files, JSON Lines or Parquet."""

from pathlib import Path

from fastif.tokens import Scheme
from tasks.data.conll import read_conll
from tasks.study.errors import Problem, StudyError
from tasks.tokens.tagged_records import RecordColumns, read_json_lines, read_parquet
from tasks.tokens.tagged_table import TaggedTable, make_tagged_table

JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")


def read_tagged_table(
    path: Path, columns: RecordColumns | None = None, scheme: Scheme | None = None
) -> TaggedTable:
    """Read tagged sentences; the format follows the name of the file, CoNLL by default.

    Args:
        path: .jsonl, .ndjson, .json (lines) or .parquet; any other name is a CoNLL file.
        columns: Columns of JSON Lines and Parquet; "tokens" and "tags" by default.
        scheme: Scheme of the tags; detected if None.

    Raises:
        StudyError: The file cannot be read, with all of its problems by line or row.
    """
    if not path.is_file():
        problem = Problem("file", "an existing file", f"{path}", "correct the path")
        raise StudyError(path, [problem])
    columns, suffix = columns or RecordColumns(), path.suffix.lower()
    if suffix in JSON_LINES:
        return make_tagged_table(path, read_json_lines(path, columns), scheme, ())
    if suffix in PARQUET:
        return make_tagged_table(path, read_parquet(path, columns), scheme, ())
    sentences, notes = read_conll(path)
    return make_tagged_table(path, sentences, scheme, notes)
