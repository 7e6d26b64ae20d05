"""Pages made by hand, and requests as they go over the wire."""

import http.client
import json
from pathlib import Path

SECRET = b"no reader may have this"
HEAD = '<!doctype html>\n<html lang="en">\n<head>\n<title>Data quality of x, 2026-01-01</title>\n'


def make_page(description: dict | None, body: str = "") -> bytes:
    content = json.dumps(description).replace('"', "&#34;") if description else ""
    meta = f'<meta name="fastif-report" content="{content}">\n' if description else ""
    return f"{HEAD}{meta}<style></style>\n</head>\n{body}</html>\n".encode()


def describe(run: str, finished: str, *tests: tuple[str, str, str]) -> dict:
    return {"study": "x", "run": run, "finished": finished, "tests": tests, "actions": ["a leak"]}


def send(url: str, path: str | None = None, method: str = "GET", host: str | None = None):
    """Send a path exactly as it is; return status, headers and body."""
    place, _, rest = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(place, timeout=20)
    connection.putrequest(
        method, f"/{rest}" if path is None else path, skip_host=host is not None,
        skip_accept_encoding=True,
    )  # fmt: skip
    if host:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, body


def reports(world: Path) -> Path:
    return world / "reports"
