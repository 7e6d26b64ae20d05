"""Local service for nightly audits on one machine: a Prefect server, a worker, the deployments.

`start_service` starts what is not running, `stop_service` stops only what it started. A file in the
service's folder records each process with its start time, so that a process that got the same
number later is never killed.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from fastif import InputError

POOL = "fastif"
PORT = 4200
START_TIMEOUT = 120
"""Timeout in seconds; the first start creates the database, which takes 15 to 25 s on two cores."""
STOP_TIMEOUT = 20

RECORDER_SETTINGS = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "200",
}
"""Server settings without which it falls behind after some thousand task runs and drops events."""

NO_TELEMETRY = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
HEARTBEAT_SETTINGS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
"""Interval of the heartbeats of a flow run in seconds; see `flows.heartbeat`."""


@dataclass(frozen=True)
class ServiceProcess:
    """Process started by `start_service`.

    Attributes:
        pid: Process id.
        began: Start time as the system reports it, which distinguishes processes of equal id.
    """

    pid: int
    began: str

    @property
    def is_alive(self) -> bool:
        """Whether this process is still running."""
        return _read_start_time(self.pid) == self.began

    def stop(self) -> None:
        """Stop its process group by SIGTERM, then by SIGKILL after a timeout."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.is_alive:
                return
            os.killpg(self.pid, number)
            deadline = time.monotonic() + STOP_TIMEOUT
            while self.is_alive and time.monotonic() < deadline:
                time.sleep(0.1)


@dataclass(frozen=True)
class Service:
    """Processes of the local service.

    Attributes:
        folder: Folder of the service, with its logs.
        url: URL of the server's API.
    """

    folder: Path
    url: str

    @property
    def dashboard_url(self) -> str:
        """URL of the server's web page."""
        return self.url.removesuffix("/api")

    def read_processes(self) -> dict[str, ServiceProcess]:
        """Running processes that were started here, by name."""
        try:
            content = json.loads((self.folder / "service.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        processes = {name: ServiceProcess(**fields) for name, fields in content.items()}
        return {name: process for name, process in processes.items() if process.is_alive}

    def start(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start a process in a new group, unless it is running.

        Args:
            name: Name of the process.
            command: Python module with its arguments.
            environment: Further environment variables.
            descriptors: Open files that the process inherits.
        """
        running = self.read_processes()
        if name in running:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**os.environ, **NO_TELEMETRY, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=descriptors,
            )
        self._write({**running, name: ServiceProcess(process.pid, _read_start_time(process.pid))})

    def stop(self) -> list[str]:
        """Stop all processes, the worker first; return their names."""
        running = self.read_processes()
        for name in reversed(running):
            running[name].stop()
        (self.folder / "service.json").unlink(missing_ok=True)
        return list(reversed(running))

    def _write(self, processes: dict[str, ServiceProcess]) -> None:
        text = json.dumps({name: asdict(process) for name, process in processes.items()}, indent=1)
        temp = self.folder / ".service.json.tmp"
        temp.write_text(text + "\n", "utf-8")
        temp.replace(self.folder / "service.json")


def service_folder() -> Path:
    """Folder of the local service: FASTIF_HOME, or ~/.fastif."""
    return Path(os.environ.get("FASTIF_HOME") or Path.home() / ".fastif").absolute()


def start_service(study: Path, port: int = PORT) -> Iterator[str]:
    """Start server and worker if needed, apply the deployments, and yield a message per step.

    With PREFECT_API_URL set, to your own server or Prefect Cloud, nothing is started: only the
    deployments are applied, for your own worker.

    Raises:
        InputError: the server does not start, or a deployment is refused.
    """
    given_url = os.environ.get("PREFECT_API_URL")
    service = Service(service_folder(), given_url or f"http://127.0.0.1:{port}/api")
    environment = {"PREFECT_API_URL": service.url, "FASTIF_STUDY": str(study.absolute())}
    if given_url:
        yield f"Using the Prefect server at {given_url}; nothing is started on this machine."
    else:
        yield from _start_server(service, port, environment)
    _run_prefect(["work-pool", "create", POOL, "--type", "process", "--overwrite"], environment)
    yield f"Work pool {POOL} created: runs are processes on the worker's machine."
    if not given_url:
        yield start_worker(service, study)
    _run_prefect(
        ["--no-prompt", "deploy", "--all", "--prefect-file", str(find_prefect_file())], environment
    )
    yield f"Deployments of {find_prefect_file()} applied for {study}."
    _apply_heartbeat(environment)
    yield "Runs without a heartbeat for 90 s will be marked as crashed."
    yield f"Web page: {service.dashboard_url}"


def start_worker(service: Service, study: Path) -> str:
    """Start the worker unless it is running; return a message."""
    settings = {"PREFECT_API_URL": service.url, "FASTIF_STUDY": str(study.absolute())}
    command = ["prefect", "worker", "start", "--pool", POOL, "--name", worker_name()]
    service.start("worker", command, {**settings, **HEARTBEAT_SETTINGS})
    return f"Worker is running; its log is {service.folder / 'worker.log'}."


def worker_name() -> str:
    """Name of this machine's worker on the Prefect server."""
    return f"fastif on {platform.node()}"


def stop_service() -> list[str]:
    """Stop the processes of `start_service`; return their names."""
    return Service(service_folder(), "").stop()


def _start_server(service: Service, port: int, environment: dict[str, str]) -> Iterator[str]:
    is_running = "server" in service.read_processes()
    if not is_running and is_healthy(service.url):
        raise InputError(
            "--port",
            "a free port, or a server that `fastif up` started",
            f"another server at {service.url}",
            f"Set PREFECT_API_URL={service.url} to use that server, or choose another --port.",
        )
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    service.start("server", command, {**environment, **RECORDER_SETTINGS})
    deadline = time.monotonic() + START_TIMEOUT
    while not is_healthy(service.url):
        if time.monotonic() > deadline or "server" not in service.read_processes():
            raise InputError(
                "fastif up",
                f"a Prefect server at {service.url} within {START_TIMEOUT} s",
                "no response",
                f"See its log, {service.folder / 'server.log'}.",
            )
        time.sleep(0.5)
    state = "is running" if is_running else "started"
    yield f"Prefect server {state} at {service.dashboard_url}, on the loopback interface only."


def is_healthy(url: str) -> bool:
    """Whether a Prefect server responds at this URL."""
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _run_prefect(arguments: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "prefect", *arguments]
    settings = {**os.environ, **NO_TELEMETRY, **environment}
    completed = subprocess.run(
        command,
        env=settings,
        cwd=Path(__file__).parents[1],  # the entrypoints of the deployments start here
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode:
        output = (completed.stdout + completed.stderr).strip().splitlines()
        raise InputError(
            f"prefect {' '.join(arguments[:3])}",
            "success",
            output[-1].strip() if output else f"exit code {completed.returncode}",
            "Check the server's log, and PREFECT_API_URL if you have set it.",
        )


def _apply_heartbeat(environment: dict[str, str]) -> None:
    """Create the heartbeat automation, in a new process with the server's address."""
    command = [sys.executable, "-m", "flows.heartbeat"]
    settings = {**os.environ, **NO_TELEMETRY, **environment}
    completed = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if completed.returncode:
        output = completed.stderr.strip().splitlines()
        raise InputError(
            "the automation that marks killed runs",
            "success",
            output[-1] if output else "a failure without a message",
            "Check the server's log.",
        )


def find_prefect_file() -> Path:
    """Path of the deployments: `prefect.yaml` in the service's folder, or the package's own."""
    changed = service_folder() / "prefect.yaml"
    return changed if changed.is_file() else Path(__file__).with_name("prefect.yaml")


def _read_start_time(pid: int) -> str:
    """Start time of a process; empty if there is no such process."""
    if shutil.which("ps") is None:  # a slim container
        return _read_proc_start_time(pid)
    command = ["ps", "-o", "lstart=", "-o", "stat=", "-p", str(pid)]
    fields = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return "" if not fields or fields[-1].startswith("Z") else " ".join(fields[:-1])


def _read_proc_start_time(pid: int) -> str:
    """Start time of a process in clock ticks since boot, from the proc file system."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return ""
    fields = line.rpartition(")")[2].split()  # the name of the program may contain spaces
    return "" if fields[0] == "Z" else f"{fields[19]} ticks"
