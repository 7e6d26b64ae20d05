"""The messages and lines of the screen that pages quote occur in the source."""

import ast
import re

import pytest

from tests.docs.blocks import ROOT

TROUBLESHOOTING, TUTORIAL = ROOT / "docs" / "troubleshooting.md", ROOT / "docs" / "tutorial.md"
LIMITS = ROOT / "docs" / "concepts" / "when-influence-fails.md"
PACKAGES = ("fastif", "storage", "tasks", "flows")
END = re.compile("^## (Without a message of fastif|4. One wrong prediction)$", re.MULTILINE)
"""Headings below which tables quote no messages of ours."""


def list_quotes(text: str) -> list[str]:
    """Quoted messages: what stands between backticks in the first column of the tables."""
    cells = re.findall(r"^\| (.+?) \|", END.split(text)[0], re.MULTILINE)
    return [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture(scope="module")
def literals() -> str:
    """All text literals of the packages, one a line; values of f-strings are left out."""
    lines = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            lines += _list_literals(ast.parse(path.read_text("utf-8")))
    return "\n".join(lines)


def _list_literals(tree: ast.Module) -> list[str]:
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values]
            lines.append(" ".join("".join(parts).split()))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            lines.append(" ".join(node.value.split()))
    return lines


def is_quoted_from(quote: str, literals: str) -> bool:
    """Whether one literal holds a quote, in which `...` stands for names and numbers."""
    pattern = r"[^\n]*".join(map(re.escape, quote.split("...")))
    return re.search(pattern.replace(r"\ [^\n]*", r"\ ?[^\n]*"), literals) is not None


@pytest.mark.parametrize("page", [TROUBLESHOOTING, TUTORIAL, LIMITS], ids=lambda page: page.name)
def test_messages_occur_in_the_source(page, literals):
    quotes = list_quotes(page.read_text("utf-8"))
    assert quotes
    gone = [quote for quote in quotes if not is_quoted_from(quote, literals)]
    assert gone == [], f"{page.name} quotes messages that are not in the source"


def test_a_missing_message_is_found(literals):
    assert not is_quoted_from("a number > 0 for the solvers ...", literals)
    assert is_quoted_from("a number > 0 for the solver ...", literals)
