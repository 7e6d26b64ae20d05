"""Local service in the foreground, for a container: `python -m flows.foreground_service STUDY`.

It starts what `fastif up` starts, waits, and stops it at SIGTERM. It ends with exit code 1 if the
server or the worker ends, so that the container is restarted.
"""

import os
import signal
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from fastif import InputError
from flows.local_service import (
    PORT,
    Service,
    service_folder,
    start_service,
    start_worker,
    stop_service,
)
from flows.page_service import start_pages

POLL_SECONDS = 2.0
"""Seconds between checks of the processes."""


def run_service(study: Path, port: int) -> list[str]:
    """Start the service and wait until one of its processes ends; return the names of the ended.

    With PREFECT_API_URL set, no server is started, but a worker for that server.

    Raises:
        InputError: the server does not start, or a deployment is refused.
    """
    service = Service(service_folder(), os.environ.get("PREFECT_API_URL", ""))
    for step in chain(start_service(study, port), start_pages(study)):
        print(step, flush=True)
    expected = {"worker"} if service.url else {"server", "worker"}
    if service.url:
        print(start_worker(service, study), flush=True)
    while not (ended := expected - set(service.read_processes())):
        time.sleep(POLL_SECONDS)
    return sorted(ended)


def main(
    study: Annotated[Path, typer.Argument(help="Study file of the nightly runs.")],
    port: Annotated[int, typer.Option(help="Port of the Prefect server on 127.0.0.1.")] = PORT,
) -> None:
    """Run a Prefect server and a worker for nightly audits until SIGTERM."""
    from tasks.study.errors import StudyError
    from tasks.study.study import load_study

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_by_signal)
    try:
        load_study(study)
        ended = run_service(study, port)
    except (InputError, StudyError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    finally:
        stop_service()
    logs = ", ".join(str(service_folder() / f"{name}.log") for name in ended)
    print(f"The {' and the '.join(ended)} ended. See {logs}.", file=sys.stderr)
    raise SystemExit(1)


def _exit_by_signal(number: int, _frame: object) -> None:
    raise SystemExit(0 if number == signal.SIGTERM else 128 + number)


if __name__ == "__main__":
    typer.run(main)
