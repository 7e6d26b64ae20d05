"""Columns of a table that a study reads, to compare two tables that should be read as the same."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tasks.data.column_types import cast_to_text
from tasks.data.decimals import decide_decimal
from tasks.data.readers import read_source
from tasks.data.tabular import read_measurements
from tasks.study.sections import TrainSource

LABEL = "label"


def read_content(source: TrainSource, labels: Sequence[str], folder: Path) -> pl.DataFrame:
    """Read the columns of `[train]` as a study reads them, without validation of the rows.

    Images are compared as they are stored, not as pixels, and features by their values.

    Args:
        source: Section of the study.
        labels: Label names of the study.
        folder: Folder from which relative paths start.

    Returns:
        Columns named by their roles, such as `text: review`; the labels are `label`.

    Raises:
        StudyError: the table cannot be read, or a column has another type.
    """
    wanted = [*source.content_columns, source.label, *([source.id] if source.id else [])]
    opened = read_source(source, [*wanted, *source.groups], folder, "train")
    opened = decide_decimal(opened, source.features, "train")
    frame = cast_to_text(source, opened, labels)
    columns = {f"text: {name}": frame[name] for name in source.text}
    columns |= {f"id: {source.id}": frame[source.id]} if source.id else {}
    columns |= {f"group: {name}": frame[name] for name in source.groups}
    if source.image:
        columns[f"image: {source.image}"] = opened.frame[source.image]
    if source.features:
        rows, texts = read_measurements(source, opened, frame[source.label])
        columns["features"] = pl.Series(texts)
        columns["kinds"] = pl.Series([" ".join(rows.kinds)] * len(texts), dtype=pl.String)
    columns[LABEL] = frame[source.label]
    return pl.DataFrame([column.alias(name) for name, column in columns.items()])
