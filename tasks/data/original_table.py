"""Training table with all columns as they came in, to be edited and written."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.data.columns import select_columns
from tasks.data.csv_edits import read_cells
from tasks.data.datasets_library import list_class_names, load_split
from tasks.data.decoded_text import DecodedText, decode_file
from tasks.data.file_content import FileContent
from tasks.data.file_formats import READ_ERRORS, make_read_error, scan_file
from tasks.data.file_scanners import ROW
from tasks.data.image_files import is_image_folder
from tasks.data.read_options import Scan, make_options
from tasks.study.errors import Problem, StudyError
from tasks.study.sections import TrainSource
from tasks.study.spelling import normalize_nfc

TEXT_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
ARROW_SUFFIXES = (".arrow", ".feather", ".ipc")


@dataclass(frozen=True)
class OriginalTable:
    """A training table with all its columns.

    Attributes:
        place: Name of the table for messages.
        suffix: Ending of the file's name without compression, such as .csv; empty for a data set.
        numbers: Number of each row, counted from 1; blank lines of text tables are counted.
        cells: Label column as it is stored.
        read_arrow: Function that reads all columns with their types.
        text: Text of a file in a text format; None for others.
        separator: Separator of the cells of a text table.
        fault: Reason why a text table cannot be edited as text; empty if it can.
        compression: Compression of the columns of a Parquet file.
        is_stream: Whether an Arrow file is a stream.
    """

    place: str
    suffix: str
    numbers: list[int]
    cells: pl.Series
    read_arrow: Callable[[], pa.Table]
    text: DecodedText | None = None
    separator: str = ""
    fault: str = ""
    compression: str = "snappy"
    is_stream: bool = False


def read_original(source: TrainSource, folder: Path) -> OriginalTable:
    """Read the table of `[train]` with all its columns.

    Args:
        source: Section of the study.
        folder: Folder from which relative paths start.

    Raises:
        StudyError: a folder of images, or a table that cannot be read.
    """
    if source.table is None:
        return _read_dataset(source, folder)
    path = folder / source.table
    if is_image_folder(path):
        expected, got = "a table file", "a folder of images, whose labels are names of folders"
        change = "run with --dry-run, and move the images to the folders of their labels"
        raise StudyError(path, [Problem("[train] table", expected, got, change)])
    options = make_options(source, ())
    try:
        _, scan, content = scan_file(path, options, "train")
        if content.suffix in TEXT_SUFFIXES:
            encoding = source.encoding or scan.detected.get("encoding", "utf-8")
            return _read_text(path, source, scan, content, encoding)
        return _read_typed(path, source, scan, content)
    except StudyError:
        raise
    except READ_ERRORS as error:
        raise make_read_error(path, options, "train", error) from None


def _select_label(rows: pl.LazyFrame, source: TrainSource) -> tuple[list[int], pl.Series]:
    frame = select_columns(rows, [source.label], ROW).collect()
    return frame[ROW].to_list(), frame[source.label]


def _read_text(
    path: Path, source: TrainSource, scan: Scan, content: FileContent, encoding: str
) -> OriginalTable:
    numbers, cells = _select_label(scan.rows, source)
    text = decode_file(content.read(), encoding)
    fault = _find_fault(text.text, scan.separator, numbers, cells) if scan.separator else ""
    return OriginalTable(
        str(path),
        content.suffix,
        numbers,
        cells,
        lambda: _to_arrow(scan.rows),
        text,
        scan.separator,
        fault,
    )


def _find_fault(text: str, separator: str, numbers: list[int], cells: pl.Series) -> str:
    """Reason why the records of a text table cannot be edited one by one; empty if they can."""
    try:
        separate = read_cells(text, separator, numbers, cells.name)
    except (csv.Error, ValueError) as error:
        return f"lines that cannot be divided: {error}"
    if [cell or "" for cell in separate] != cells.fill_null("").to_list():
        return "lines that two readers divide in different ways"
    return ""


def _to_arrow(rows: pl.LazyFrame) -> pa.Table:
    table = rows.drop(ROW).collect().to_arrow(compat_level=pl.CompatLevel.oldest())
    # Polars' own marks of categories would name its version in other files.
    return table.cast(pa.schema([field.remove_metadata() for field in table.schema]))


def _read_typed(path: Path, source: TrainSource, scan: Scan, content: FileContent) -> OriginalTable:
    numbers, cells = _select_label(scan.rows, source)
    place, suffix = str(path), content.suffix
    if suffix == ".parquet":
        footer = pq.read_metadata(content.source)
        codec = footer.row_group(0).column(0).compression.lower()
        compression = "none" if codec == "uncompressed" else codec
        return OriginalTable(
            place,
            suffix,
            numbers,
            cells,
            lambda: pq.ParquetFile(content.source).read(),
            compression=compression,
        )
    if suffix in ARROW_SUFFIXES:
        is_stream = not content.head.startswith(b"ARROW1")

        def read() -> pa.Table:
            open_rows = pa.ipc.open_stream if is_stream else pa.ipc.open_file
            with open_rows(pa.BufferReader(content.read())) as reader:
                return reader.read_all()

        return OriginalTable(place, suffix, numbers, cells, read, is_stream=is_stream)
    return OriginalTable(place, suffix, numbers, cells, lambda: _to_arrow(scan.rows))


def _read_dataset(source: TrainSource, folder: Path) -> OriginalTable:
    """Read a data set; the numbers of class labels are replaced by their names."""
    rows = load_split(source, folder, "train")
    table: pa.Table = rows.with_format("arrow")[:]  # type: ignore[assignment]
    names = list_class_names(rows)
    # It describes the classes by number.
    table = table.replace_schema_metadata(
        {
            key: value
            for key, value in (table.schema.metadata or {}).items()
            if key != b"huggingface"
        }
    )
    if source.label in names:
        index = [normalize_nfc(name) for name in table.column_names].index(source.label)
        classes = pa.array(names[source.label]).take(table.column(index).combine_chunks())
        table = table.set_column(index, table.column_names[index], classes)
    frame = pl.DataFrame(table).lazy().with_row_index(ROW, 1)
    numbers, cells = _select_label(frame, source)
    return OriginalTable(str(source.dataset), "", numbers, cells, lambda: table)
