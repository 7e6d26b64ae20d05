"""Labelled tables of a study, validated before anything is computed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from tasks.data.announcements import escape_unprintable
from tasks.data.column_notes import describe_giveaway, describe_groups
from tasks.data.column_types import cast_to_text
from tasks.data.columns import to_dotted
from tasks.data.decimals import decide_decimal
from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.data.read_tags import join_word_lists, read_tags
from tasks.data.read_targets import ReadTargets, read_targets, read_weights
from tasks.data.readers import read_source
from tasks.data.table import Table as Table
from tasks.data.table import compute_digest
from tasks.data.table_problems import find_id_problems, find_label_problems, find_text_problems
from tasks.data.tabular import Measurements, read_measurements
from tasks.study.errors import (
    Problem,
    StudyError,
    format_value,
    join_some,
    suggest,
)
from tasks.study.sections import TableSource, TrainSource
from tasks.study.target_kind import CLASS, ONE_CLASS, TAGS


def read_table(
    source: TableSource,
    labels: Sequence[str],
    folder: Path,
    role: str,
    joins: bool | None = None,
    kind: str = CLASS,
) -> Table:
    """Read and validate the table of a section. Only queries may lack labels.

    Labels are compared as text: a column of whole numbers matches the names "0", "1", ..., never
    positions, which would silently be wrong under another order of the names. A `datasets` column
    with class names is read as these names.

    Args:
        source: Section of the study.
        labels: Label names of the study.
        folder: Folder from which relative paths start.
        role: Name of the section, train or queries, for messages.
        joins: Whether single columns of numbers are one vector; see `read_measurements`.
        kind: Kind of the targets.

    Raises:
        StudyError: all problems of the table; rows are counted from 1, without the header line.
    """
    columns = [*_list_roles(source).values()]
    opened = read_source(source, [name for names in columns for name in names], folder, role)
    _require_columns(source, opened, role)
    if opened.frame.is_empty():
        problem = Problem(f"[{role}]", "1 or more rows", "an empty table", "fill it")
        raise StudyError(opened.place, [problem])
    opened, problems = _decide_cells(source, opened, role, kind)
    # Targets other than classes are read apart, by their kind.
    plain = source if kind in ONE_CLASS else source.model_copy(update={"label": None})
    frame = cast_to_text(plain, opened, labels)
    # The second text of a pair may be empty.
    problems = problems or [p for n in source.text[:1] for p in find_text_problems(frame, n)]
    if plain.label:
        problems += find_label_problems(frame, plain.label, labels, opened, role != "queries")
    targets = _read_targets(plain, source, opened, frame, kind, labels, role != "queries")
    weights, weight_problems = _read_weights(source, opened)
    problems += [*targets.problems, *weight_problems]
    problems += find_id_problems(frame, source.id) if source.id else []
    if problems:
        raise StudyError(opened.place, problems)
    texts, pairs, measurements = _read_content(source, plain, opened, frame, joins)
    ids = frame[source.id or ROW].cast(pl.String).to_list()
    groups = {name: frame[name].to_list() for name in source.groups}
    digest = compute_digest(ids, texts, pairs, targets.values, groups, weights)
    notes = [*_list_notes(plain, opened, frame), *targets.notes]
    notes += measurements.notes if measurements else ()
    notes = [escape_unprintable(f"[{role}] {opened.place}: {note}") for note in notes]
    return Table(
        *(ids, texts, pairs, targets.values, groups, digest, opened.place, measurements),
        notes=(*notes,),
        kind=kind,
        weights=weights,
    )


def _decide_cells(
    source: TableSource, opened: RawTable, role: str, kind: str
) -> tuple[RawTable, list[Problem]]:
    """Decide the decimal mark, and join the lists of words of tagged sentences to texts."""
    numeric = [*(() if kind in (*ONE_CLASS, TAGS) else source.target_columns)]
    if isinstance(source, TrainSource) and source.weight is not None:
        numeric.append(source.weight)
    opened = decide_decimal(opened, [*source.features, *numeric], role)
    return join_word_lists(opened, source.text[0]) if kind == TAGS else (opened, [])


def _read_content(
    source: TableSource,
    plain: TableSource,
    opened: RawTable,
    frame: pl.DataFrame,
    joins: bool | None,
) -> tuple[list[str], list[str] | None, Measurements | None]:
    """Return texts and second texts; or descriptions of features or images, and their values."""
    if source.text:
        pairs = frame[source.text[1]].to_list() if len(source.text) == 2 else None
        return frame[source.text[0]].to_list(), pairs, None
    given = frame[plain.label] if plain.label else None
    measurements, words = read_measurements(source, opened, given, joins)
    return words, None, measurements


def _list_roles(source: TableSource) -> dict[str, tuple[str, ...]]:
    """Return the columns of a section by the key that names them."""
    key = "text" if source.text else "features" if source.features else "image"
    weight = source.weight if isinstance(source, TrainSource) else None
    return {
        key: source.content_columns,
        "labels" if source.labels else "label": source.target_columns,
        "weight": (weight,) if weight else (),
        "id": (source.id,) if source.id else (),
        "groups": source.groups,
    }


def _read_targets(
    plain: TableSource,
    source: TableSource,
    opened: RawTable,
    frame: pl.DataFrame,
    kind: str,
    labels: Sequence[str],
    is_required: bool,
) -> ReadTargets:
    """Return the target of each row: positions of classes in `labels`, or those of other kinds."""
    if not source.target_columns:
        return ReadTargets([None] * len(frame), [])
    if kind == TAGS:
        texts = frame[source.text[0]].to_list()
        return read_tags(opened, str(source.label), texts, labels, is_required)
    if not plain.label:
        return read_targets(opened, source.target_columns, kind, labels, is_required)
    positions = {label: position for position, label in enumerate(labels)}
    return ReadTargets([positions.get(label) for label in frame[plain.label]], [])


def _read_weights(
    source: TableSource, opened: RawTable
) -> tuple[list[float] | None, list[Problem]]:
    if not isinstance(source, TrainSource) or source.weight is None:
        return None, []
    return read_weights(opened, source.weight)


def _require_columns(source: TableSource, opened: RawTable, role: str) -> None:
    wanted = [(key, name) for key, names in _list_roles(source).items() for name in names]
    available = join_some(opened.available, 20) or "none"
    missing = [(key, name) for key, name in wanted if name not in opened.available]
    problems = [
        Problem(
            f"[{role}] {key}",
            f"a column {format_value(name)}",
            f"the columns {available}",
            _suggest_column(name, opened.available) or f"set {key} to one of these columns",
        )
        for key, name in missing
    ]
    if problems and opened.separator and len(opened.available) == 1:
        problems = [_explain_single_column(source, opened, role)]
    if problems:
        raise StudyError(opened.place, problems)


def _explain_single_column(source: TableSource, opened: RawTable, role: str) -> Problem:
    """Return the problem of a text table whose separator divides no line."""
    separator = format_value(opened.separator)
    change = "set separator to the character between its cells"
    if source.separator is not None:
        change = "correct separator, or remove it to have it detected"
    expected = f"cells that are separated by {separator}"
    got = f"a single column, {format_value(opened.available[0])}"
    return Problem(f"[{role}] separator", expected, got, change)


def _suggest_column(name: str, available: Sequence[str]) -> str:
    """Return the column closest to a name; fields of nested columns are named with dots."""
    dotted = to_dotted(name)
    if dotted != name and dotted in available:
        return f"fields of nested columns are named with dots: write {format_value(dotted)}"
    return suggest(dotted, available)


def _list_notes(source: TableSource, opened: RawTable, frame: pl.DataFrame) -> Iterator[str]:
    """Yield what was detected in a file, and notes on columns that may be unintended."""
    detected = [f"{key} = {format_value(value)}" for key, value in opened.detected.items()]
    forms = [*([f"{opened.compression} compression"] if opened.compression else []), *detected]
    if forms:
        yield f"detected {', '.join(forms)}"
    yield from opened.notes
    if source.label and (count := frame[source.label].null_count()):
        rows = "all" if count == len(frame) else f"{count:,} of {len(frame):,}"
        yield f"{rows} rows have no label: of these the predicted label is explained"
    if source.label:
        for name in source.text:
            yield from describe_giveaway(name, frame[name], frame[source.label])
    for name in source.text[1:]:
        if count := (frame[name] == "").sum():
            rows = "all" if count == len(frame) else f"{count:,}"
            yield (
                f"the second text, {name}, is empty in {rows} rows: they are tokenized as "
                'pairs, as by tokenizer([text], [""])'
            )
    for name in source.groups:
        yield from describe_groups(name, frame[name].to_list())
