"""The command `fastif serve`, which explains single predictions over HTTP."""

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import print_line, report_errors
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

app = typer.Typer()


@app.command()
@takes_study
def serve(
    study: Path = DEFAULT_STUDY,
    host: Annotated[
        str, typer.Option(help="Address of the interface; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8400,
    token_env: Annotated[
        str | None, typer.Option(help="Environment variable with the token of requests.")
    ] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Maximum queries in a request.")] = 32,
    max_waiting: Annotated[int, typer.Option(min=1, help="Maximum waiting requests.")] = 64,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the computation; all cores by default.")
    ] = None,
) -> None:
    """Explain single predictions over HTTP, from the sketches of the latest audit.

    POST texts to /explain; /health and /metrics tell its state. No text is logged.
    """
    with report_errors():
        from flows.service.limits import Limits
        from flows.service.server import Address, serve

        limits = Limits(rows=max_rows, waiting=max_waiting)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        serve(study, Address(host, port, token_env), limits, threads or cores, print_line)
