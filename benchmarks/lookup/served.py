"""Lookup service in a thread of this process, and what a client in another one measures of it."""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import uvicorn

from flows.service.app import LookupService
from flows.service.limits import Limits
from flows.service.server import make_config
from flows.service.work_queue import WorkQueue
from tasks.service.engine import Engine


@dataclass(frozen=True)
class Answer:
    """Answer to a request.

    Attributes:
        status: HTTP status.
        seconds: Time from sending to the last byte.
        content: Body.
    """

    status: int
    seconds: float
    content: str


@dataclass(frozen=True)
class Load:
    """What was measured while a list of requests was answered.

    Attributes:
        answers: Answer of each request; None for a lost one.
        seconds: Time of all of them.
        cpu_seconds: Processor time of the service.
    """

    answers: Sequence[Answer | None]
    seconds: float
    cpu_seconds: float


@contextmanager
def start_service(engine: Engine) -> Iterator[int]:
    """Context manager that serves an engine, and yields the port."""
    queue = WorkQueue(64, torch.get_num_threads())
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(make_config(LookupService(engine, Limits(), queue)))
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        queue.close(10)


def send_requests(port: int, bodies: Sequence[str], connections: int) -> Load:
    """Send requests from another process and collect the answers."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, bodies)))
        file.flush()
        before, start = _read_cpu_seconds(), time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.lookup.client"]
        done = subprocess.run(
            [*command, str(port), str(connections), file.name],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        seconds, cpu_seconds = time.perf_counter() - start, _read_cpu_seconds() - before
    answers: list[Answer | None] = [None] * len(bodies)
    for line in done.stdout.splitlines():
        position, status, duration, content = json.loads(line)
        answers[position] = Answer(status, duration, content)
    return Load(answers, seconds, cpu_seconds)


def read_memory() -> dict[str, float]:
    """Memory of this process in GB: its own, and that of mapped files."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    values = dict(line.split(":", 1) for line in lines if line.startswith("Rss"))
    return {name: int(value.split()[0]) / 1e6 for name, value in values.items()}


def _read_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
