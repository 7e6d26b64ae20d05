"""Description of a report page in its head, from which an index of pages is made."""

import json
from dataclasses import asdict, dataclass
from html.parser import HTMLParser

NAME = "fastif-report"
"""Name of the element `meta` that has the description."""


@dataclass(frozen=True)
class PageDescription:
    """Summary of a page for an index of pages; it has no text of an example.

    Attributes:
        study: Name of the study.
        run: Name of the run, or of the detection.
        finished: Time of its end, ISO 8601.
        tests: Name, result and measured number of each test that has a limit.
        actions: Recommended actions, without their commands.
    """

    study: str
    run: str
    finished: str
    tests: tuple[tuple[str, str, str], ...]
    actions: tuple[str, ...]

    def dump(self) -> dict[str, object]:
        """Return the description as JSON has it."""
        return asdict(self)


class _MetaParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.content = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "meta" and values.get("name") == NAME:
            self.content = values.get("content") or ""


def read_description(start: str) -> PageDescription | None:
    """Read the description of a page; None for a page without one.

    Examples:
        >>> read_description("<!doctype html><title>Data quality of nli</title>") is None
        True

    Args:
        start: Start of the page, with its head.
    """
    parser = _MetaParser()
    parser.feed(start.partition("<style")[0])
    try:
        fields = json.loads(parser.content)
        tests = tuple((str(a), str(b), str(c)) for a, b, c in fields["tests"])
        actions = tuple(map(str, fields["actions"]))
        study, run, finished = (str(fields[name]) for name in ("study", "run", "finished"))
    except (ValueError, KeyError, TypeError):
        return None
    return PageDescription(study, run, finished, tests, actions)
