"""The names that code in the documentation uses exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("fastif", "storage", "tasks", "flows")


def find_blocks(page: Path) -> list[str]:
    """Python code of a page, prompts of doctests taken off."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    return [re.sub(r"^(>>> |\.\.\. )", "", block, flags=re.MULTILINE) for block in blocks]


def list_names(code: str) -> list[tuple[str, str]]:
    """Pairs of a module of ours and a name that the code takes from it."""
    names = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
            names += [(node.module, alias.name) for alias in node.names]
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            continue
        if node.value.id in PACKAGES:
            names.append((node.value.id, node.attr))
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_code_exist(page):
    missing = []
    for block in find_blocks(page):
        try:
            names = list_names(block)
        except SyntaxError:
            continue  # a fragment
        for module, name in names:
            owner = importlib.import_module(module)
            if not hasattr(owner, name):
                try:
                    importlib.import_module(f"{module}.{name}")
                except ModuleNotFoundError:
                    missing.append(f"{module}.{name}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_of_modules_exist(page):
    paths = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[\w/]+\.py)`", page.read_text())
    assert [path for path in paths if not (ROOT / path).is_file()] == []
