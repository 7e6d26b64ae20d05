"""Limits of the lookup service: sizes of a request, and how many wait."""

from dataclasses import dataclass

MEGABYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Limits of the lookup service.

    Attributes:
        body_bytes: Maximum size of a request's body.
        rows: Maximum number of queries in a request.
        characters: Maximum length of a text.
        shown: Maximum number of rows of each kind in an explanation.
        waiting: Maximum number of requests that wait; further ones are refused with 503.
        wait_seconds: Time after which a waiting request is refused with 503.
        body_seconds: Time in which a body must arrive.
    """

    body_bytes: int = MEGABYTE
    rows: int = 32
    characters: int = 20_000
    shown: int = 100
    waiting: int = 64
    wait_seconds: float = 30.0
    body_seconds: float = 10.0
