"""docs/results.md, of which every measurement owns a section."""

from pathlib import Path

TITLE = (
    "# Results\n\nMeasured by the scripts in `benchmarks/`, each of which writes its own section.\n"
)


def put_section(path: Path, start: str, end: str, section: str) -> None:
    """Put a section between its markers; append both if the page does not have them yet."""
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
