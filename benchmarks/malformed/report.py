"""Page of the malformed inputs, docs/results/malformed.md."""

from benchmarks.page import PAGES, ResultPage, bullets, read_result, table, write_pages

NAME = "malformed"
SIDES = ("before", "after")


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the malformed inputs, before and after."""
    after = result.get("after") or result.get("before", {})
    before = result.get("before", {})
    right = {side: sum(not a["faults"] for a in result.get(side, {}).values()) for side in SIDES}
    kinds = list(dict.fromkeys(key.split(": ")[0] for key in after))
    counts = [
        [kind, str(sum(key.startswith(f"{kind}: ") for key in after)),
         *(str(sum(not a["faults"] for k, a in side.items() if k.startswith(f"{kind}: ")))
           for side in (before, after))]
        for kind in kinds
    ]  # fmt: skip
    answers = [
        [key, _format(before.get(key)), _format(answer), _first_lines(answer)]
        for key, answer in after.items()
    ]
    seconds = sorted(answer["seconds"] for answer in after.values())
    headline = f"{right['after']} of {len(after)} answered as they should, {right['before']} before"
    return [
        ResultPage(
            name=NAME,
            title="Malformed inputs",
            question="How does the command line answer malformed and unusual inputs?",
            answer=(
                f"{headline}. The median answer takes "
                f"{seconds[len(seconds) // 2] if seconds else 0.0:.1f} s of processor in a process "
                "that has its imports."
            ),
            headline=headline,
            tables=[
                table(["kind", "inputs", "right before", "right after"], counts),
                table(["input", "before", "after", "answer, its first lines"], answers, left=4),
            ],
            measured=bullets(
                "Command: `python -m benchmarks.malformed after`; `before` is commit f967260.",
                "Right: the expected exit code; place and cause are named; no traceback, no "
                "control character; no file changed by a refusal.",
                "Each command runs in a spoilt copy of a tiny study. Cases about rights and full "
                "disks need root.",
            ),
        )
    ]


def _format(answer: dict | None) -> str:
    if answer is None:
        return "-"
    return "right" if not answer["faults"] else _escape("; ".join(answer["faults"]))


def _first_lines(answer: dict) -> str:
    lines = [line for line in answer["lines"] if "Starting Prefect" not in line][:5]
    return _escape(" ".join(" ".join(lines).split())[:300])


def _escape(text: str) -> str:
    """Return a text as one cell of a Markdown table."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return "`" + shown.replace("`", "'").replace("|", "/") + "`" if shown else ""


if __name__ == "__main__":
    write_pages(PAGES, build_pages(read_result(NAME)))
