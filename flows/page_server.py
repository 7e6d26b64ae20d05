"""Server of report pages on the loopback interface: `python -m flows.page_server FD FOLDER`.

It shows the reports in the folders of `ServedPages`, read-only, and an index of them. The socket is
bound by the process that starts it, which so knows the port.
"""

import hmac
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flows.served_pages import HOST, ServedPages
from tasks.report.page_files import read_report_file
from tasks.report.page_index import render_index

HOSTS = {HOST, "localhost"}
"""Names of this machine in the header Host; another one is a page that lets its name lead here
(DNS rebinding). Any port is accepted, so that a tunnel can have another."""
TYPES = {"html": "text/html", "json": "application/json", "md": "text/plain"}
SCRIPTED = "script-src 'unsafe-inline'; "
"""Permission of inline scripts of a report, whose own policy permits only one, by its hash."""
POLICY = (
    "default-src 'none'; {scripts}style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
ALLOWED = {"Allow": "GET, HEAD"}
HEADERS: dict[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageHandler(BaseHTTPRequestHandler):
    """Answers one request: the index, or a report; everything else is refused."""

    server_version, sys_version = "fastif", ""
    timeout = 30

    def do_GET(self) -> None:
        if not self._is_local():
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "The name of this server is another.")
            return
        parts = _split_path(self.path)
        address = self._pages.read_address()
        token = address.token.encode() if address else b""
        if address is None or not (parts and hmac.compare_digest(parts[0].encode(), token)):
            self._answer(HTTPStatus.NOT_FOUND, "There is no such page.")
        elif not parts[1:]:
            more = {"Location": f"/{address.token}/"}
            self._answer(HTTPStatus.PERMANENT_REDIRECT, "The address ends in /.", more=more)
        elif parts[1:] == [""]:
            index = render_index(self._pages.list_folders())
            self._answer(HTTPStatus.OK, index, "html")
        else:
            self._answer_report(parts[1:])

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "Pages are read-only.", more=ALLOWED)

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: addresses have the token."""

    @property
    def _pages(self) -> ServedPages:
        assert isinstance(self.server, PageServer)
        return self.server.pages

    def _is_local(self) -> bool:
        hosts = self.headers.get_all("Host") or [""]
        name = hosts[0].rpartition(":")[0] if ":" in hosts[0] else hosts[0]
        return len(hosts) == 1 and name.lower() in HOSTS

    def _answer_report(self, parts: list[str]) -> None:
        folder = self._pages.list_folders().get(parts[0])
        content = read_report_file(folder, parts[1]) if folder and len(parts) == 2 else None
        if content is None:
            self._answer(HTTPStatus.NOT_FOUND, "There is no such page.")
        else:
            self._answer(HTTPStatus.OK, content, parts[1].rpartition(".")[2].lower(), SCRIPTED)

    def _answer(
        self,
        status: HTTPStatus,
        content: str | bytes,
        kind: str = "md",
        scripts: str = "",
        more: dict[str, str] | None = None,
    ) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        self.send_header("Content-Type", f"{TYPES[kind]}; charset=utf-8")
        self.send_header("Content-Length", f"{len(body)}")
        self.send_header("Content-Security-Policy", POLICY.format(scripts=scripts))
        for name, value in (HEADERS | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class PageServer(ThreadingHTTPServer):
    """HTTP server on a socket that is bound already.

    Attributes:
        pages: Record of the folders that are shown.
    """

    daemon_threads = True

    def __init__(self, bound: socket.socket, pages: ServedPages) -> None:
        super().__init__(bound.getsockname(), PageHandler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.pages = bound, pages
        self.server_activate()

    def handle_error(self, request: object, client_address: object) -> None:
        """Write nothing about a client that went away; other errors are logged."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _split_path(path: str) -> list[str]:
    """Return the decoded parts of an absolute path; empty for one that leads elsewhere."""
    raw = urlsplit(path).path if path.startswith("/") else ""
    try:
        parts = [unquote(part, errors="strict") for part in raw.split("/")[1:]]
    except ValueError:
        return []
    is_plain = not any(part in (".", "..") or set(part) & set("/\\\0") for part in parts)
    return parts if is_plain else []


def main(descriptor: str, folder: str) -> None:
    """Serve until the process is stopped."""
    bound = socket.socket(fileno=int(descriptor))
    PageServer(bound, ServedPages(Path(folder))).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
