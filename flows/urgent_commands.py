"""The command for the one query that somebody waits for: `fastif urgent`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import StudyOption, out, refusals

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
    with refusals():
        from flows.engine import engine_of
        from tasks.draw import draw_explained
        from tasks.plan import read_inputs
        from tasks.urgent import asked_of

        where = engine_of(engine)
        asked_of(read_inputs(study), query_id, repeats, k)  # refused before Prefect starts
        from flows.urgent import urgent as flow

        out.print(draw_explained(flow(str(study.resolve()), query_id, repeats, k, where)))
