"""Fenced code blocks of the documentation."""

import itertools
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
LANGUAGES = {"python", "sh", "toml", "console", "text", "mermaid", ""}
"""`console` and `text` are what a program prints, with commands after a `$`."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: path of the page below the repository's root.
        line: line of the opening fence, from 1.
        language: the word after the fence; empty if there is none.
        code: text between the fences, without their indentation.
        output: text of the block that follows directly, if it is what this one prints.
    """

    page: str
    line: int
    language: str
    code: str
    output: str | None = None

    @property
    def place(self) -> str:
        """Page and line, as an editor opens them."""
        return f"{self.page}:{self.line}"


def list_blocks(*languages: str, pages: list[Path] = PAGES) -> list[Block]:
    """Return the blocks of some languages, in the order of the pages."""
    return [block for page in pages for block in _read_page(page) if block.language in languages]


def _read_page(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    blocks = []
    for match, following in itertools.pairwise([*FENCE.finditer(text), None]):
        is_output = (
            following is not None
            and following[2] in ("", "text")
            and not text[match.end() : following.start()].strip()
        )
        blocks.append(
            Block(
                page=str(page.relative_to(ROOT)),
                line=text[: match.start()].count("\n") + 1,
                language=match[2],
                code=textwrap.dedent(match[3]),
                output=textwrap.dedent(following[3]) if is_output else None,
            )
        )
    return blocks
