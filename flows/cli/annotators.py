"""Command of several annotators: `fastif annotators`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import out, print_line, report_errors

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from tasks.mislabels.annotator_tables import AnnotatorTables

app = typer.Typer()


@app.command()
def annotators(
    table: Annotated[Path, typer.Argument(help="Table of annotations, in any format of tables.")],
    row: Annotated[
        str | None,
        typer.Option("--row", help="Column with the row's id; by default the line is the row."),
    ] = None,
    annotator: Annotated[
        str | None, typer.Option("--annotator", help="Column with the annotator, or lists of them.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column with the label, or lists of labels.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="Column with the labels of one annotator; give several."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", help="Allowed label; give all. By default those of the table."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", "-o", help="New .csv or .parquet file of the rows.")
    ] = None,
    shown: Annotated[int, typer.Option("-k", min=0, help="Number of rows to show.")] = 10,
) -> None:
    """Estimate the consensus of several annotators, and how accurate each of them is.

    A table has one line an annotation (--row id --annotator who --label label), one line a row with
    a column for each annotator (--column ann --column ben), or lists in each line. Empty labels are
    no annotations.

    The model is that of Dawid and Skene (1979): a confusion matrix for each annotator, by EM. The
    accuracy has a 90 % interval. Rows come first where one more annotation changes most. --out
    writes the consensus of each row, its probability, and this order.
    """
    with report_errors():
        from tasks.mislabels.annotation_table import AnnotationColumns, read_annotation_table
        from tasks.mislabels.annotator_tables import check_consensus_file, compute_annotator_tables
        from tasks.terminal.annotators import render_annotators

        if to is not None:
            check_consensus_file(to)  # before the work
        columns = AnnotationColumns(row, annotator, label, tuple(column or ()))
        annotations = read_annotation_table(table, columns, labels or ())
        for note in annotations.notes:
            print_line(f"Note: {note}.")
        tables = compute_annotator_tables(annotations)
        out.print(render_annotators(tables, shown))
        if to is not None:
            _write(tables, to)


def _write(tables: "AnnotatorTables", path: Path) -> None:
    from tasks.mislabels.annotator_tables import write_consensus

    print_line(f"Rows written: {write_consensus(tables, path):,}, to {path}.")
