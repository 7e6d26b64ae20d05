"""Body of a request for explanations: JSON, read strictly, with errors in four parts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fastif import InputError
from flows.service.limits import Limits
from tasks.service.engine import AUTO, Engine, Wish
from tasks.service.query_rows import QueryRows, name_json_type, name_texts

KEYS = ("texts", "rows", "labels", "k", "neighbours", "measure")
FORM = '{"texts": ["..."], "labels": [null], "k": 5}'


@dataclass(frozen=True)
class ExplainRequest:
    """Request for explanations.

    Attributes:
        texts: Texts or pairs of texts; None if there are rows.
        rows: Rows with the study's columns; None if there are texts.
        labels: Label of each text, or None.
        wish: Numbers of rows and measure.
    """

    texts: Sequence[Any] | None
    rows: Sequence[Any] | None
    labels: Sequence[Any] | None
    wish: Wish

    def read(self, engine: Engine, limits: Limits) -> QueryRows:
        """Return the queries, checked like the rows of a query table.

        Raises:
            InputError, StudyError: A query is not readable.
        """
        rows = self.rows
        if rows is None:
            assert self.texts is not None, "a request has texts or rows"
            rows = name_texts(engine.study, self.texts, self.labels)
        return engine.read_rows(rows, limits.characters)


def parse_request(body: bytes, limits: Limits) -> ExplainRequest:
    """Parse the body of a request.

    Raises:
        InputError: It is no JSON of this form, or above a limit; no text is part of the message.
    """
    content = _parse_object(body)
    unknown = len([key for key in content if key not in KEYS])
    if unknown:
        _refuse("body", f"the keys {', '.join(KEYS)}", f"{unknown} others", "Leave them out.")
    if ("texts" in content) == ("rows" in content):
        got = "both" if "texts" in content else "neither"
        _refuse("body", "exactly one of the keys texts and rows", got, f"Send {FORM}.")
    if "rows" in content and "labels" in content:
        _refuse("labels", "no such key with rows", "labels", "Put the label into each row.")
    kind = "texts" if "texts" in content else "rows"
    _check_list(content[kind], kind, limits)
    if content.get("labels") is not None:
        _check_list(content["labels"], "labels", limits)
    return ExplainRequest(
        content.get("texts"),
        content.get("rows"),
        content.get("labels"),
        _read_wish(content, limits),
    )


def _parse_object(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(
            body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_make_object
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        _refuse("body", f"JSON in UTF-8 such as {FORM}", _describe(error), "Correct the JSON.")
    if not isinstance(content, Mapping):
        _refuse("body", f"an object such as {FORM}", name_json_type(content), "Send an object.")
    return content


def _describe(error: Exception) -> str:
    """Describe an error of the JSON without the text around it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"a byte that is not UTF-8 at position {error.start + 1}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number that is too long"


def _make_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        _refuse("body", "every key once in an object", "a key twice", "Remove one of them.")
    return content


def _refuse_constant(name: str) -> NoReturn:
    _refuse("body", "numbers that JSON has", name, "Use null for a missing number.")


def _check_list(value: object, where: str, limits: Limits) -> None:
    if not isinstance(value, list):
        _refuse(where, "an array", name_json_type(value), f"Send {FORM}.")
    if not 1 <= len(value) <= limits.rows:
        expected = f"1 to {limits.rows} queries in a request"
        _refuse(where, expected, f"{len(value)}", "Split the request.")


def _read_wish(content: Mapping[str, Any], limits: Limits) -> Wish:
    default = Wish()
    numbers = {}
    for name, least in (("k", 1), ("neighbours", 0)):
        value = content.get(name, getattr(default, name))
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not least <= value <= limits.shown:
            got = f"{value}" if is_number and abs(value) < 10**9 else name_json_type(value)
            expected = f"a whole number from {least} to {limits.shown}"
            _refuse(name, expected, got, "Send such a number, or leave it out.")
        numbers[name] = value
    measure = content.get("measure", AUTO)
    if not isinstance(measure, str):
        _refuse("measure", "the name of a measure", name_json_type(measure), "Send its name.")
    return Wish(numbers["k"], numbers["neighbours"], measure)


def _refuse(where: str, expected: str, got: str, change: str) -> NoReturn:
    raise InputError(where, expected, got, change)
