"""The commands that give results away: `fastif report`, `fastif export`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import (
    RunOption,
    StudyOption,
    open_study,
    out,
    report_errors,
    resolve_run,
)

app = typer.Typer()


@app.command()
def report(
    run: Annotated[str | None, typer.Argument(help="The run; the newest by default.")] = None,
    study: StudyOption = Path("study.toml"),
    against: Annotated[
        str | None,
        typer.Option(help="The run to compare with; the newest earlier one that can be."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; beside the store by default.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of an hour of the machine, for the cost.")
    ] = None,
) -> None:
    """Build the data-quality report of a run: one HTML page that needs no server and no network.

    It is made from the store alone. Suspected mislabels are in it once `fastif mislabels` has run.
    """
    with report_errors():
        from tasks.report.build import ReportRequest, build_report

        request = ReportRequest(str(study.resolve()), run, against, str(to) if to else None, price)
        # The task's own function: one step on one machine gains nothing from Prefect's start.
        page = build_report.fn(request)
        for sentence in page.headline:
            out.print(f"  {sentence}", highlight=False, markup=False)
        out.print(f"The page: {page.path}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def export(
    table: Annotated[
        str, typer.Argument(help="scores, solves, queries, train, totals or mislabels.")
    ],
    to: Annotated[Path, typer.Option("--out", "-o", help="A .parquet, .csv or .ndjson file.")],
    study: StudyOption = Path("study.toml"),
    run: RunOption = None,
    only: Annotated[
        Path | None,
        typer.Option(help="A .csv or .parquet file whose column id names the rows to write."),
    ] = None,
) -> None:
    """Write a table of a run as one file, for Polars, pandas or a spreadsheet.

    Scores come with the ids and labels of both sides. Mislabels as .json are for Label Studio.
    """
    with report_errors():
        from tasks.results.export import write_export

        _, store = open_study(study)
        name = None if table == "mislabels" else resolve_run(store, run)
        result = None
        if table == "mislabels":
            from tasks.data.inputs import read_inputs
            from tasks.mislabels.results import read_current_or_latest

            inputs = read_inputs(study)
            result = read_current_or_latest(store, inputs)
            if result.table["text"].to_list() != inputs.train.texts:
                words = "Note: the training table has changed since; these are the rows before."
                out.print(words, highlight=False)
        written = write_export(store, name, table, to, only, result)
        for note in written.notes:
            out.print(f"Note: {note}.", highlight=False, markup=False, soft_wrap=True)
        out.print(f"{written.rows:,} rows in {to}.", highlight=False, markup=False, soft_wrap=True)
