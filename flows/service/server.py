"""Server of the lookup service: a socket, uvicorn in a thread, and an end without lost requests."""

import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from fastif import InputError
from flows.service.app import LookupService, make_app
from flows.service.limits import Limits
from flows.service.work_queue import WorkQueue
from flows.signals import intercept_first_signal
from tasks.run.existing_store import find_existing_store
from tasks.service.engine import Engine
from tasks.service.open_engine import open_engine

HOST, PORT = "127.0.0.1", 8400
MIN_TOKEN = 16
"""Minimum length of a token."""
GRACE_SECONDS = 20
"""Time that requests get at the end."""
MAX_CONNECTIONS, POLL_SECONDS = 512, 0.02


@dataclass(frozen=True)
class Address:
    """Address of the service.

    Attributes:
        host: Name or address of the interface.
        port: Port; 0 for a free one.
        token_env: Environment variable with the token; None for no token.
    """

    host: str = HOST
    port: int = PORT
    token_env: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def read_token(self) -> str:
        """Return the token; empty for none.

        Raises:
            InputError: The variable is missing or the token too short; or there is none, and other
                machines reach the service.
        """
        if self.token_env is None:
            if self.is_loopback:
                return ""
            raise InputError(
                "--token-env",
                f"a token, since other machines reach {self.host}",
                "none",
                "Put a secret into an environment variable and name it, or use 127.0.0.1.",
            )
        token = os.environ.get(self.token_env, "").strip()
        if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable():
            raise InputError(
                "--token-env",
                f"a variable with a token of {MIN_TOKEN} printable ASCII characters or more",
                f"{len(token)} characters in {self.token_env}",
                "Set it, for example to the output of `openssl rand -hex 32`.",
            )
        return token

    def bind(self) -> socket.socket:
        """Return a socket bound to the address.

        Raises:
            InputError: The address is in use or does not exist.
        """
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM
            )[0]
            bound = socket.socket(family, kind, protocol)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(place)
        except (OSError, OverflowError, UnicodeError) as error:
            raise InputError(
                "--host, --port",
                "a free address",
                f"{self.host}:{self.port}: {error}",
                "Use another port, or an address of this machine.",
            ) from None
        return bound


def serve(
    study: Path, address: Address, limits: Limits, threads: int, announce: Callable[[str], None]
) -> None:
    """Serve explanations until SIGINT or SIGTERM; requests that have begun are finished.

    Raises:
        InputError, StudyError: The address, the token or the study cannot be used.
    """
    token, bound = address.read_token(), address.bind()
    engine = open_engine(study, announce)
    queue = WorkQueue(limits.waiting, threads)
    service = LookupService(
        engine, limits, queue, token, address.is_loopback, lambda: find_newer_run(engine)
    )
    server = uvicorn.Server(make_config(service))

    def run() -> None:
        server.run(sockets=[bound])

    def stop(_number: int) -> None:
        server.should_exit = True

    with intercept_first_signal(stop):
        thread = threading.Thread(target=run, name="fastif-http")
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(POLL_SECONDS)
        announce(_describe(engine, bound))
        thread.join()
    queue.close(GRACE_SECONDS)
    announce("Stopped.")


def make_config(service: LookupService) -> uvicorn.Config:
    """Return the settings of the server: no access log, no headers of its own."""
    return uvicorn.Config(
        make_app(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=MAX_CONNECTIONS,
        proxy_headers=False,
    )


def find_newer_run(engine: Engine) -> str | None:
    """Return the name of the store's latest finished run if it is another one."""
    store = find_existing_store(engine.study)
    status = None if store is None else store.find_latest()
    is_other = status is not None and status.finished and status.record.run != engine.trust.run
    return status.record.run if status is not None and is_other else None


def _describe(engine: Engine, bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    trust = engine.trust
    return (
        f"Study {engine.study.name}, run {trust.run} with {trust.train_rows:,} training rows: "
        f"POST http://{name}:{port}/explain; stop with Ctrl-C."
    )
