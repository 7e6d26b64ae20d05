"""The command `fastif flip`, for the flip set of a single query."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import out, print_line, report_errors
from flows.cli.next_step import print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

app = typer.Typer()


class Format(StrEnum):
    """Formats of the answer besides the panel."""

    JSON = "json"


@app.command()
@takes_study
def flip(
    query_id: Annotated[str, typer.Argument(help="Id of the query.")],
    study: Path = DEFAULT_STUDY,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="Change the labels of training rows; none is removed.")
    ] = False,
    max_rows: Annotated[int, typer.Option(min=1, help="Largest number of training rows.")] = 50,
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm",
            help="Train the model again with these rows edited, and with as many random rows: four "
            "trainings by the section [training].",
        ),
    ] = False,
    kind: Annotated[
        Format | None, typer.Option("--format", help="Print JSON instead of a panel.")
    ] = None,
) -> None:
    """Find the fewest training rows without which a query would be predicted otherwise.

    With --relabel the rows stay and their labels change. The answer may be that no such set is
    small enough. The label of the query is not used.
    """
    with report_errors():
        from tasks.data.inputs import read_inputs
        from tasks.flips.flip_request import make_flip_request

        # report errors before Prefect starts
        make_flip_request(read_inputs(study, "`fastif flip`"), query_id, relabel, max_rows, confirm)
        from flows.flip import flip as flow
        from tasks.flips.findings import render_flip_json
        from tasks.terminal.flips import render_flip

        answer = flow(str(study.resolve()), query_id, relabel, max_rows, confirm)
        if kind is Format.JSON:
            print_line(render_flip_json(answer))
            return
        out.print(render_flip(answer))
        for row in answer.rows[:1]:
            print_next("show", values=[row.id], study=study)
