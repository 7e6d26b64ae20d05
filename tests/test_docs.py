"""Paths of modules in pages and names in docstrings exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("fastif", "storage", "tasks", "flows")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_of_modules_exist(page):
    paths = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w/]+\.py)`", page.read_text())
    assert [path for path in paths if not (ROOT / path).is_file()] == []


OTHERS = {"mse_loss", "merge_and_unload", "neg", "negative", "LABEL_1", "conflict", "query_text"}
"""Words between backticks that are names of other packages, examples or composed names."""


def list_identifiers(path: Path) -> set[str]:
    """Names and short texts of a module: what a docstring may speak of."""
    words = set(path.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name | ast.Attribute | ast.arg | ast.keyword | ast.alias):
            name = next(
                getattr(node, key) for key in ("id", "attr", "arg", "name") if hasattr(node, key)
            )
            words |= set((name or "").split("."))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            words.add(node.name)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40
        ):
            words |= set(re.findall(r"\w+", node.value))
    return words


def test_names_in_docstrings_exist():
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    known = set().union(*map(list_identifiers, paths)) | OTHERS
    missing = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", node.value):
                    if not set(name.split(".")) <= known:
                        missing.append((str(path.relative_to(ROOT)), name))
    assert missing == []
