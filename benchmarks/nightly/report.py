"""The sections of docs/results.md on nights, each written from its JSON."""

import json
from pathlib import Path

from benchmarks.page import put_section

RESULTS = Path("benchmarks/results")
PAGE = Path("docs/results.md")


def publish(name: str, title: str, text: str, result: dict) -> None:
    """Keep a result as JSON, and put its section in its place."""
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    start = f"<!-- {name}: written by benchmarks/nightly -->"
    put_section(PAGE, start, f"<!-- {name}: end -->", f"## {title}\n\n{text}\n")


def machine_of(result: dict) -> str:
    """The machine, in a few words."""
    machine = result["machine"]
    return (
        f"{machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"torch {machine['versions']['torch']}"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns but the first are numbers."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
