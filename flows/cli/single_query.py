"""The command for the one query that somebody waits for: `fastif urgent`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import StudyOption, out, report_errors

app = typer.Typer()


@app.command()
def urgent(
    query_id: Annotated[str, typer.Argument(help="Id of the query.")],
    study: StudyOption = Path("study.toml"),
    repeats: Annotated[
        int | None, typer.Option(min=1, help="LiSSA runs to average; the study's by default.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Training examples at each end.")] = 5,
    engine: Annotated[
        str,
        typer.Option(help="threads, dask, dask:WORKERS, or a scheduler's address (tcp://...)."),
    ] = "threads",
) -> None:
    """Explain one query now, its LiSSA repeats split over the workers and averaged.

    For a query of the table that no audit has answered yet. Every training row is scored.
    """
    with report_errors():
        from flows.executor_config import parse_executor
        from tasks.audit.single_query import make_request
        from tasks.data.inputs import read_inputs
        from tasks.terminal.audit import render_explained_query

        executor = parse_executor(engine)
        make_request(read_inputs(study), query_id, repeats, k)  # refused before Prefect starts
        from flows.single_query import urgent as flow

        out.print(
            render_explained_query(flow(str(study.resolve()), query_id, repeats, k, executor))
        )
