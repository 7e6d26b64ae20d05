"""Every paper that a docstring or a page cites is in the list of references."""

import ast
import re
import unicodedata
from pathlib import Path

from tests.docs.blocks import PAGES, ROOT

REFERENCES = ROOT / "docs" / "concepts" / "references.md"
PACKAGES = ("fastif", "storage", "tasks", "flows", "benchmarks")
NAME = r"[A-Z][a-z\u00c0-\u017f]+(?:-[A-Z][a-z]+)?"
OTHERS = rf"(?: et al\.|(?:, {NAME})*,? (?:and|&) (?:others|{NAME}))?"
CITATION = re.compile(rf"({NAME}){OTHERS},? \(?\[?((?:18|19|20)\d\d)\b")
"""First author and year of a citation such as (Bae et al., 2022) or Koh and Liang (2017)."""
NO_AUTHORS = {"January", "November", "Hardware"}
"""Words before a year that are not the name of an author."""


def list_citations(text: str) -> set[tuple[str, str]]:
    """First author, without accents, and year of each citation."""
    collapsed = " ".join(text.split())
    return {
        (_fold(author), year)
        for author, year in CITATION.findall(collapsed)
        if author not in NO_AUTHORS
    }


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def _read_texts(path: Path) -> str:
    """The docstrings and other text literals of a module, or a page as it is."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        return text
    nodes = ast.walk(ast.parse(text))
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    return "\n".join(value for value in constants if isinstance(value, str))


def test_cited_papers_are_listed():
    headings = re.findall(r"^### (.+)$", REFERENCES.read_text("utf-8"), re.MULTILINE)
    listed = set().union(*map(list_citations, headings))
    modules = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    missing = {
        (str(path.relative_to(ROOT)), *citation)
        for path in [*modules, *PAGES]
        if path != REFERENCES
        for citation in list_citations(_read_texts(path)) - listed
    }
    assert sorted(missing) == []


def test_first_author_and_year_are_found():
    text = "(Chen, Epperly, Tropp and Webber, 2023); Särndal et al. (1992), Kuhn, 1955"
    assert list_citations(text) == {("Chen", "2023"), ("Sarndal", "1992"), ("Kuhn", "1955")}
