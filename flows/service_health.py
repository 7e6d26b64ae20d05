"""Health of the local service, for a container or a monitor: `python -m flows.service_health`.

The exit code is 0 if the server responds, has deployments and its worker is online. Otherwise it
is 1, and the reasons are printed.
"""

import os
import sys
from typing import Annotated, Any

import httpx
import typer

from flows.local_service import (
    POOL,
    PORT,
    Service,
    is_healthy,
    service_folder,
    worker_name,
)


def list_problems(service: Service) -> list[str]:
    """List what prevents the next nightly run; empty if nothing does.

    A worker is online if it sent a heartbeat to the server in the last 90 s.
    """
    running = service.read_processes()
    problems = []
    if "worker" not in running:
        problems.append(f"No worker of {service.folder} is running.")
    if not is_healthy(service.url):
        return [*problems, f"No Prefect server responds at {service.url}."]
    if problems:
        return problems
    try:
        return _list_server_problems(service)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return [f"The server at {service.url} does not list its workers: {error}"]


def _list_server_problems(service: Service) -> list[str]:
    """List what the server lacks: heartbeats of the worker, or deployments."""
    workers = _post(service.url, f"work_pools/{POOL}/workers/filter", {})
    states = {worker["name"]: worker["status"] for worker in workers}
    if states.get(worker_name()) != "ONLINE":
        return [f"The worker sends no heartbeats; see {service.folder / 'worker.log'}."]
    if not _post(service.url, "deployments/count", {"work_pools": {"name": {"any_": [POOL]}}}):
        return [f"No deployment is applied to the work pool {POOL}."]
    return []


def _post(url: str, path: str, body: dict[str, Any]) -> Any:
    """Send a request to the server's API, with the credentials of Prefect's environment variables.

    Raises:
        httpx.HTTPError: no answer, or an error.
    """
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    key = os.environ.get("PREFECT_API_KEY")
    response = httpx.post(
        f"{url}/{path}",
        json=body,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        auth=(user, password) if user else None,
        timeout=5,
    )
    response.raise_for_status()
    return response.json()


def main(
    port: Annotated[int, typer.Option(help="Port of the Prefect server on 127.0.0.1.")] = PORT,
) -> None:
    """Check that the nightly service is healthy."""
    url = os.environ.get("PREFECT_API_URL") or f"http://127.0.0.1:{port}/api"
    problems = list_problems(Service(service_folder(), url))
    print("\n".join(problems) or "The server responds and its worker is online.")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    typer.run(main)
