"""Results as JSON, and docs/results.md, of which every measurement owns a section made from it."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "results.md"
TITLE = (
    "# Results\n\nMeasured by the scripts in `benchmarks/`, each of which writes its own section.\n"
)


def read_result(name: str) -> dict:
    """What was measured last; empty if nothing was."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def publish(name: str, result: dict, section: str) -> None:
    """Keep a result as JSON, and put its section in its place on the page."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    put_section(PAGE, name, section)


def put_section(path: Path, name: str, section: str) -> None:
    """Put a section between its markers; append both if the page does not have them yet."""
    start, end = markers(name)
    text = path.read_text("utf-8") if path.is_file() else TITLE
    body = f"{start}\n{section}{end}\n"
    if start in text and end in text:
        before, _, rest = text.partition(start)
        rest = rest.partition(end)[2].lstrip("\n")
        text = before + body + (f"\n{rest}" if rest else "")
    else:
        text = f"{text.rstrip()}\n\n{body}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")


def markers(name: str) -> tuple[str, str]:
    """The comments before and after a section."""
    return f"<!-- {name}: written from benchmarks/results/{name}.json -->", f"<!-- {name}: end -->"


def describe_machine(result: dict) -> str:
    """When and on what a result was measured, in a few words."""
    machine = result["machine"]
    return (
        f"{machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"torch {machine['versions']['torch']}"
    )


def join_parts(*parts: str) -> str:
    """Paragraphs and tables as one section."""
    return "\n\n".join(parts) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns but the first are numbers."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
