"""Page of the malformed inputs, docs/results/malformed.md."""

import re
from collections.abc import Iterator

from benchmarks.page import PAGES, ResultPage, bullets, read_result, table, write_pages

NAME = "malformed"
KINDS = {
    "tables": "Tables",
    "models": "Model folders",
    "studies": "Study files",
    "stores": "Damaged and foreign stores",
    "contents": "Contents: control characters, copies, rare classes",
    "reviews": "Review files",
    "exports": "Exports",
    "outputs": "Output paths",
    "options": "Options and arguments",
    "rights": "Rights",
    "disks": "Full disks",
}
"""Headings by kind of input."""
MAX_CHARS = 420
FRAMES = re.compile("[\u2500-\u257f]+")
"""Frames of panels on a terminal."""


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the malformed inputs, before and after."""
    before, after = result.get("before", {}), result.get("after", {})
    right, right_before = (sum(not a["faults"] for a in side.values()) for side in (after, before))
    headline = f"{right} of {len(after)} answered as they should, {right_before} before"
    seconds = sorted(answer["seconds"] for answer in after.values()) or [0.0]
    return [
        ResultPage(
            name=NAME,
            title="Malformed inputs",
            question="How does the command line answer malformed and unusual inputs?",
            answer=(
                f"{headline}. The median answer takes {seconds[len(seconds) // 2]:.2f} s of "
                "processor time in a process that has its imports."
            ),
            headline=headline,
            tables=[_count_by_kind(before, after), *_list_answers(before, after)],
            measured=bullets(
                "Command: `python -m benchmarks.malformed after`. `before` is commit f967260 with "
                "this version's `benchmarks/malformed` in it, and there `python -m "
                "benchmarks.malformed before`. Each side tried all inputs once, in one run.",
                "Inputs and expectations were written with answers of `before` in view: the "
                "numbers count these inputs, and estimate no rate among others.",
                "Right: the expected exit code (2 for a refusal); place and cause are named, and "
                "the remedy where it was wrong once; no traceback, no control character; no file "
                "changed by a refusal.",
                "Each command runs in a spoilt copy of a tiny study, `FOLDER`. Cases about rights "
                "and full disks need root.",
            ),
        )
    ]


def _count_by_kind(before: dict, after: dict) -> str:
    rows = []
    for kind, title in KINDS.items():
        sides = [
            [a for key, a in side.items() if key.startswith(f"{kind}: ")]
            for side in (after, before)
        ]
        counts = [sum(not answer["faults"] for answer in side) for side in sides]
        rows.append([title, f"{len(sides[0])}", f"{counts[1]}", f"{counts[0]}"])
    return table(["kind", "inputs", "right before", "right after"], rows)


def _list_answers(before: dict, after: dict) -> Iterator[str]:
    """Yield a heading and a table of the inputs of each kind."""
    for kind, title in KINDS.items():
        rows = [
            [
                key.partition(": ")[2],
                _format_verdict(before.get(key)),
                _format_verdict(answer),
                _first_lines(answer),
            ]
            for key, answer in after.items()
            if key.startswith(f"{kind}: ")
        ]
        if rows:
            yield f"## {title}"
            yield table(["input", "before", "after", "answer now, its first lines"], rows, left=4)


def _format_verdict(answer: dict | None) -> str:
    if answer is None:
        return "-"
    return "right" if not answer["faults"] else "; ".join(map(_quote, answer["faults"]))


def _first_lines(answer: dict) -> str:
    lines = [line for line in answer["lines"] if "Starting Prefect" not in line]
    text = " ".join(FRAMES.sub(" ", " ".join(lines)).split())
    return _quote(text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} ...")


def _quote(text: str) -> str:
    """Return a text as code in one cell of a Markdown table."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return "`" + shown.replace("`", "'").replace("|", "/") + "`" if shown else "(nothing)"


if __name__ == "__main__":
    write_pages(PAGES, build_pages(read_result(NAME)))
