"""Results as JSON, and one Markdown page a benchmark in docs/results, written from them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, PAGES = ROOT / "benchmarks" / "results", ROOT / "docs" / "results"
INDEX = "index.md"
MEASURED, TRIED = "How this was measured", "What else was tried"


@dataclass(frozen=True)
class ResultPage:
    """The page of one benchmark.

    Attributes:
        name: File name without its suffix.
        title: Heading of the page, and its link text in the index.
        question: The question that the benchmark answers, one sentence.
        answer: One or two sentences with the main number.
        headline: The main number in a few words, for the index.
        tables: Tables and figures in Markdown, in their order.
        measured: Data, model, settings, hardware and command in Markdown; shown folded.
        tried: Ablations and failed attempts in Markdown; shown folded, omitted if empty.
    """

    name: str
    title: str
    question: str
    answer: str
    headline: str
    tables: Sequence[str]
    measured: str
    tried: str = ""

    def render(self) -> str:
        """Return the page as Markdown."""
        parts = [
            f"# {self.title}",
            f"**Question.** {self.question}",
            f"**Answer.** {self.answer}",
            *self.tables,
            fold(MEASURED, self.measured),
        ]
        parts += [fold(TRIED, self.tried)] if self.tried else []
        return join_parts(*(part.strip() for part in parts))

    def index_row(self) -> str:
        """Return the table row of the page in the index."""
        return f"| [{self.title}]({self.name}.md) | {self.question} | {self.headline} |"


def read_result(name: str) -> dict:
    """Return the kept result of a benchmark; empty if there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def publish(name: str, result: dict, pages: Sequence[ResultPage]) -> None:
    """Write a result as JSON, its pages, and their rows of the index."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    write_pages(PAGES, pages)


def write_pages(folder: Path, pages: Sequence[ResultPage]) -> None:
    """Write pages into a folder and replace their rows in its index; new rows are appended."""
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    lines = index.read_text("utf-8").splitlines() if index.is_file() else ["# Results", ""]
    for page in pages:
        (folder / f"{page.name}.md").write_text(page.render(), "utf-8")
        link = f"]({page.name}.md) |"
        place = next((i for i, line in enumerate(lines) if link in line), len(lines))
        lines[place : place + 1] = [page.index_row()]
    index.write_text("\n".join(lines) + "\n", "utf-8")


def render_pages(pages: Sequence[ResultPage]) -> str:
    """Return all pages as one text, for a terminal."""
    return "\n".join(page.render() for page in pages)


def fold(summary: str, body: str) -> str:
    """Return a part of a page that is shown folded, with Markdown inside."""
    return f'<details markdown="1"><summary>{summary}</summary>\n\n{body.strip()}\n\n</details>'


def describe_machine(result: dict) -> str:
    """Return the date, processor, cores and torch version of a result."""
    machine = result["machine"]
    return (
        f"{machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"torch {machine['versions']['torch']}"
    )


def format_goal(is_reached: bool) -> str:
    """Return the words for a goal that was reached, or was not."""
    return "reached" if is_reached else "**not reached**"


def join_parts(*parts: str) -> str:
    """Return paragraphs, lists and tables as one text, separated by blank lines."""
    return "\n\n".join(parts) + "\n"


def bullets(*entries: str) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {entry}" for entry in entries)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table; all columns but the first `left` are aligned to the right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
