"""HTTP interface of the lookup service: /explain, /health and /metrics."""

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from fastif import InputError
from flows.service.explain_request import ExplainRequest, parse_request
from flows.service.limits import Limits
from flows.service.metrics import Metrics
from flows.service.work_queue import BusyError, WorkQueue
from tasks.service.engine import Engine
from tasks.service.explanation import CONVENTION
from tasks.service.problems import list_problems
from tasks.study.errors import StudyError

JSON_TYPE, TEXT_TYPE = "application/json", "text/plain; version=0.0.4; charset=utf-8"
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
PATHS = ("/explain", "/health", "/metrics")
LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]"}
"""Names of this machine in the header Host; a page of another name may not read answers."""
RETRY_SECONDS = 1
logger = logging.getLogger("fastif.service")


@dataclass(frozen=True, eq=False)
class LookupService:
    """Engine, limits and counters of the HTTP interface.

    Attributes:
        engine: Engine of the study.
        limits: Limits of requests.
        queue: Thread that computes.
        token: Token that requests must have; empty for none.
        is_local: Whether only names of this machine are accepted in the header Host.
        find_newer: Function that returns the name of a newer finished run, or None.
        metrics: Counters of requests and queries.
    """

    engine: Engine
    limits: Limits
    queue: WorkQueue
    token: str = ""
    is_local: bool = True
    find_newer: Callable[[], str | None] = lambda: None
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        metrics = Metrics(lambda: self.queue.waiting, self.engine.trust.train_rows)
        object.__setattr__(self, "metrics", metrics)


class RefusedError(Exception):
    """Request that is refused with a status and a problem in four parts."""

    def __init__(self, status: int, where: str, expected: str, got: str, change: str) -> None:
        self.status, self.problem = status, InputError(where, expected, got, change)
        super().__init__(where)


def make_app(service: LookupService) -> FastAPI:
    """Return the application; it has no page of documentation and no other paths."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable) -> Response:
        path = request.url.path if request.url.path in PATHS else "other"
        try:
            _check_host(service, request)
            _check_token(service, request)
            response = await call_next(request)
        except Exception as error:  # every error becomes an answer, without the text of a request
            response = _answer_error(error)
        service.metrics.count_request(path, response.status_code)
        return response

    app.add_exception_handler(HTTPException, _answer_http_error)

    @app.post("/explain")
    async def explain(request: Request) -> Response:
        return await _explain(service, request)

    @app.get("/health")
    async def health(request: Request) -> Response:
        return await _describe_health(service, request)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type=TEXT_TYPE, headers=HEADERS)

    return app


async def _explain(service: LookupService, request: Request) -> Response:
    start = time.perf_counter()
    wanted = parse_request(await _read_body(service.limits, request), service.limits)
    answers = await service.queue.compute(
        lambda: _compute(service, wanted), service.limits.wait_seconds
    )
    service.metrics.count_explanations(len(answers), time.perf_counter() - start)
    content = {
        "study": service.engine.study.name,
        "convention": dict(CONVENTION),
        "answers": answers,
        "trust": service.engine.trust.as_json(),
    }
    return _answer(200, content)


def _compute(service: LookupService, wanted: ExplainRequest) -> list[dict[str, Any]]:
    rows = wanted.read(service.engine, service.limits)
    return [answer.as_json() for answer in service.engine.explain(rows, wanted.wish)]


async def _describe_health(service: LookupService, request: Request) -> Response:
    content: dict[str, Any] = {"status": "ok"}
    if not service.token or _has_token(service, request):
        newer = await asyncio.to_thread(service.find_newer)
        content |= {
            "study": service.engine.study.name,
            "newer_run": newer,
            "waiting": service.queue.waiting,
            "trust": service.engine.trust.as_json(),
        }
    return _answer(200, content)


async def _read_body(limits: Limits, request: Request) -> bytes:
    """Read the body, and stop where it is too large or too slow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON_TYPE:
        got = "another type" if kind else "none"
        raise RefusedError(415, "header Content-Type", JSON_TYPE, got, "Send JSON of this type.")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.body_bytes:
                    expected = f"at most {limits.body_bytes:,} bytes"
                    raise RefusedError(413, "body", expected, "more", "Split the request.")
    except TimeoutError:
        expected = f"the whole body within {limits.body_seconds:g} s"
        raise RefusedError(408, "body", expected, "a part of it", "Send it again.") from None
    return bytes(body)


def _check_host(service: LookupService, request: Request) -> None:
    """Refuse another name of this machine, by which a page elsewhere could read answers."""
    name = request.headers.get("host", "").rpartition(":")
    host = (name[0] if name[1] and not name[2].endswith("]") else name[2]).lower()
    if service.is_local and host not in LOCAL_NAMES:
        expected = f"one of {', '.join(sorted(LOCAL_NAMES))}"
        raise RefusedError(421, "header Host", expected, "another name", "Use 127.0.0.1.")


def _check_token(service: LookupService, request: Request) -> None:
    if service.token and request.url.path != "/health" and not _has_token(service, request):
        raise RefusedError(
            401,
            "header Authorization",
            "Bearer and the token of the service",
            "another" if "authorization" in request.headers else "none",
            "Send the token that the service was started with.",
        )


def _has_token(service: LookupService, request: Request) -> bool:
    """Whether the request has the token, compared in constant time."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    is_same = hmac.compare_digest(given.strip().encode(), service.token.encode())
    return is_same and kind.lower() == "bearer"


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer paths and methods that do not exist."""
    assert isinstance(error, HTTPException)
    paths = "POST /explain, GET /health or GET /metrics"
    problem = InputError("path", paths, "another path or method", "Use one of these.")
    return _answer_problem(error.status_code, problem, dict(error.headers or {}))


def _answer_error(error: Exception) -> Response:
    if isinstance(error, RefusedError):
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
        return _answer_problem(error.status, error.problem, headers)
    if isinstance(error, InputError | StudyError):
        return _answer_problem(422, error)
    if isinstance(error, BusyError):
        busy = InputError("service", "a free place", "none", "Send the request again later.")
        return _answer_problem(503, busy, {"Retry-After": f"{RETRY_SECONDS}"})
    # A message may quote a text; the type and the place do not.
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "unknown"
    logger.error("A request failed: %s at %s", type(error).__name__, place)
    failed = InputError("service", "an answer", "an error of the service", "See its log.")
    return _answer_problem(500, failed)


def _answer_problem(
    status: int, error: InputError | StudyError, headers: dict[str, str] | None = None
) -> Response:
    content = {"message": str(error), "problems": list_problems(error)}
    return _answer(status, {"error": content}, headers)


def _answer(status: int, content: Any, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, status, HEADERS | (headers or {}), JSON_TYPE)
