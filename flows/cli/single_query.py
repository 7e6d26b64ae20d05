"""The command `fastif urgent`, for a single query."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import out, report_errors
from flows.cli.next_step import print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

app = typer.Typer()


@app.command()
@takes_study
def urgent(
    query_id: Annotated[str, typer.Argument(help="Id of the query.")],
    study: Path = DEFAULT_STUDY,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="Number of LiSSA repeats to average; the study's by default."),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=1, help="Number of most harmful, and of most helpful rows.")
    ] = 5,
    engine: Annotated[
        str,
        typer.Option(help="Executor: threads, dask, dask:WORKERS, or an address tcp://..."),
    ] = "threads",
) -> None:
    """Explain a single query now: the mean of LiSSA repeats that run in parallel.

    For a query of the table without scores from an audit. All training rows are scored. Of boosted
    trees it is one scan, without repeats.
    """
    with report_errors():
        from flows.executor_config import parse_executor
        from tasks.audit.single_query import make_request
        from tasks.data.inputs import read_inputs
        from tasks.study.target_kind import ALL_TARGETS
        from tasks.terminal.examples import render_explained_query

        executor = parse_executor(engine)
        make_request(
            read_inputs(study, "`fastif urgent`", ALL_TARGETS), query_id, repeats, k
        )  # report errors before Prefect starts
        from flows.single_query import urgent as flow

        explained = flow(str(study.resolve()), query_id, repeats, k, executor)
        out.print(render_explained_query(explained))
        print_next("audit", study=study)
