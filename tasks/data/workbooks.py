"""Scanner of workbooks: Excel and OpenDocument sheets, by Polars and the package fastexcel."""

import polars as pl

from tasks.data.file_content import FileContent
from tasks.data.file_scanners import ROW, check_distinct
from tasks.data.read_options import ReadOptions, Scan
from tasks.data.undecided import UndecidedError
from tasks.study.errors import format_value, join_some, suggest

EXTRA = "pip install 'fastif[excel]', or save the sheet as .csv or .parquet"


class MissingReaderError(ValueError):
    """Error for a workbook without the package that reads it."""


def scan_workbook(content: FileContent, options: ReadOptions) -> Scan:
    """Scan a sheet of a workbook; blank rows are skipped, but counted.

    Raises:
        MissingReaderError: the package fastexcel is not installed.
        ValueError: invalid file, duplicate column names, or several sheets.
    """
    try:
        import fastexcel  # type: ignore[import-not-found]
    except ImportError:
        raise MissingReaderError("the package fastexcel is not installed") from None
    try:
        names = fastexcel.read_excel(content.read()).sheet_names
        name = _choose_sheet(content, names, options.sheet)
        first = _read_sheet(content, name, has_header=False, n_rows=1)
        check_distinct([cell for cell in first.row(0) if cell] if first.height else [])
        rows = _read_sheet(content, name).lazy().with_row_index(ROW, 1)
    except fastexcel.FastExcelError as error:
        raise ValueError(
            f"no Excel or OpenDocument workbook: {str(error).splitlines()[0]}"
        ) from None
    is_detected = options.sheet is None and len(names) > 1
    rows = rows.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))
    return Scan(rows, {"sheet": name} if is_detected else {})


def _choose_sheet(content: FileContent, names: list[str], given: str | None) -> str:
    """Return the given sheet, or the only one with cells.

    Raises:
        UndecidedError: no such sheet, or several sheets with cells.
    """
    if given is not None and given not in names:
        expected, hint = f"one of the sheets {join_some(map(format_value, names))}", ""
        hint = suggest(given, names) or "set sheet to one of these names"
        raise UndecidedError("sheet", expected, format_value(given), hint)
    if given is not None or len(names) == 1:
        return given or names[0]
    filled = [name for name in names if _read_sheet(content, name, False, n_rows=1).width]
    if len(filled) == 1:
        return filled[0]
    got = f"{len(filled)} sheets with cells: {join_some(map(format_value, filled))}"
    raise UndecidedError("sheet", "one sheet", got, "set sheet to one of these names")


def _read_sheet(
    content: FileContent, name: str, has_header: bool = True, n_rows: int | None = None
) -> pl.DataFrame:
    return pl.read_excel(
        content.source,
        sheet_name=name,
        has_header=has_header,
        infer_schema_length=None,
        drop_empty_rows=False,
        drop_empty_cols=False,
        raise_if_empty=False,
        read_options={} if n_rows is None else {"n_rows": n_rows, "dtypes": "string"},
    )
