"""Report pages of the local service: start of their server, and the address of a page."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fastif import InputError
from flows.local_service import Service, service_folder
from flows.served_pages import HOST, ServedPages
from tasks.run.existing_store import resolve_store_path
from tasks.run.page_path import make_page_path
from tasks.study.study import load_study

NAME = "pages"
PORTS = range(4280, 4290)
"""Ports to try after that of last time, since a browser keeps decisions of a review by port."""


def open_record() -> ServedPages:
    """Open the record of what the page server of this user shows."""
    return ServedPages(service_folder() / NAME)


def check_page_port(port: int | None) -> None:
    """Refuse a port of the page server that is in use, before anything is started.

    Raises:
        InputError: another process has the port, or the server runs at another one.
    """
    if port is None:
        return
    if NAME in Service(service_folder(), "").read_processes():
        address = open_record().read_address()
        if address and address.port != port:
            got = f"the report pages are at {address.url} already"
            raise InputError("--pages-port", f"{address.port}", got, "Run `fastif down` first.")
        return
    _bind(port).close()


def start_pages(study: Path, port: int | None = None) -> Iterator[str]:
    """Show the reports of a study, start the server if needed, and yield a message.

    With PREFECT_API_URL set nothing is started: pages of this machine are of no use where that
    server is.

    Args:
        study: Path of the study file.
        port: Port; that of last time, else a free one, if None.

    Raises:
        InputError: The port is in use, or the server does not start.
    """
    if os.environ.get("PREFECT_API_URL"):
        return
    check_page_port(port)
    service, record, loaded = Service(service_folder(), ""), open_record(), load_study(study)
    record.add(make_page_path(resolve_store_path(loaded), loaded.folder, "page").parent)
    address = record.read_address()
    if NAME not in service.read_processes() or address is None:
        bound = _bind(port) if port else _bind_free(address.port if address else None)
        with bound:
            address = record.write_address(bound.getsockname()[1])
            number = bound.fileno()
            command = ["flows.page_server", f"{number}", f"{record.folder}"]
            service.start(NAME, command, {}, (number,))
    yield f"Report pages: {address.url} (on the loopback interface only)"


def find_page_url(page: Path) -> str:
    """Return the address of a report while its server runs, else that of the file.

    Args:
        page: A report in the reports folder of a study, which is shown from now on.
    """
    record = open_record()
    if NAME in Service(service_folder(), "").read_processes():
        with suppress(OSError):
            record.add(page.parent)
            return record.make_url(page) or page.resolve().as_uri()
    return page.resolve().as_uri()


def _bind_free(last: int | None) -> socket.socket:
    for port in ([last] if last else []) + [*PORTS]:
        with suppress(InputError):
            return _bind(port)
    return _bind(0)


def _bind(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise InputError(
            f"--pages-port {port}",
            f"a free port of {HOST}",
            os.strerror(error.errno or 0).lower(),
            "Choose another one, or omit the option for a free one.",
        ) from None
