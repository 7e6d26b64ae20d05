"""The messages that the page on troubleshooting quotes occur in the source."""

import ast
import re

import pytest

from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
PACKAGES = ("fastif", "storage", "tasks", "flows")
OTHER_PROGRAMS = "## Without a message of fastif"
"""Below this heading are messages of other programs."""


def list_quotes(text: str) -> list[str]:
    """Quoted messages: what stands between backticks in the first column of the tables."""
    cells = re.findall(r"^\| (.+?) \|", text.partition(OTHER_PROGRAMS)[0], re.MULTILINE)
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


@pytest.mark.parametrize("quote", list_quotes(PAGE.read_text("utf-8")))
def test_messages_occur_in_the_source(quote, literals):
    assert is_quoted_from(quote, literals), "docs/troubleshooting.md quotes a message that is gone"


def test_a_missing_message_is_found(literals):
    assert not is_quoted_from("a number > 0 for the solvers ...", literals)
    assert is_quoted_from("a number > 0 for the solver ...", literals)
