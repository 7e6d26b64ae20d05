"""The commands `fastif report` and `fastif export`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import (
    RUN_NAMES,
    RunOption,
    open_study,
    out,
    print_line,
    report_errors,
    resolve_run,
)
from flows.cli.completion import complete_runs
from flows.cli.next_step import print_comparison, print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

app = typer.Typer()


@app.command()
@takes_study
def report(
    run: Annotated[
        str | None,
        typer.Argument(
            help=f"Name of the run; the newest by default. {RUN_NAMES}",
            autocompletion=complete_runs,
        ),
    ] = None,
    study: Path = DEFAULT_STUDY,
    against: Annotated[
        str | None,
        typer.Option(
            help=f"Run to compare with; the newest comparable earlier run by default. {RUN_NAMES}"
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File of the page; next to the store by default."),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Price of one machine hour, to show the cost.")
    ] = None,
) -> None:
    """Build the data-quality report of a run: one self-contained HTML page.

    It is built from the store alone. It lists labels that are probably wrong if `fastif mislabels`
    has run before.
    """
    with report_errors():
        from tasks.report.build import ReportRequest, build_report
        from tasks.run.run_names import resolve_run_name

        if run or against:
            _, store = open_study(study)
            run = resolve_run_name(store, run) if run else None
            against = resolve_run_name(store, against) if against else None
        request = ReportRequest(str(study.resolve()), run, against, str(to) if to else None, price)
        # The plain function: a single step does not need Prefect.
        page = build_report.fn(request)
        for sentence in page.headline:
            out.print(f"  {sentence}", highlight=False, markup=False)
        print_line(f"Report: {page.path}")
        _print_next_step(study)


def _print_next_step(study: Path) -> None:
    """Print the comparison with the run before, if there is one, or the search for wrong labels."""
    _, store = open_study(study)
    print_comparison(store.list_runs(), study, "mislabels")


@app.command()
@takes_study
def export(
    table: Annotated[
        str, typer.Argument(help="Table: scores, solves, queries, train, totals or mislabels.")
    ],
    to: Annotated[
        Path, typer.Option("--out", "-o", help="New .parquet, .csv, .ndjson or .jsonl file.")
    ],
    study: Path = DEFAULT_STUDY,
    run: RunOption = None,
    only: Annotated[
        Path | None,
        typer.Option(
            help="Only rows with an id in the column id of this .csv, .parquet or .jsonl file."
        ),
    ] = None,
) -> None:
    """Export a table of a run as one file, for Polars, pandas or a spreadsheet.

    Scores include ids and labels of queries and training rows. Mislabels as .json are tasks for
    Label Studio.
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
                words = "Note: the training table has changed since the search; old rows are given."
                out.print(words, highlight=False)
        written = write_export(store, name, table, to, only, result)
        for note in written.notes:
            out.print(f"Note: {note}.", highlight=False, markup=False, soft_wrap=True)
        print_line(f"Wrote {written.rows:,} rows to {to}.")
        if name is None:
            print_next("runs", study=study)
        else:
            print_next("report", values=[name], study=study)
