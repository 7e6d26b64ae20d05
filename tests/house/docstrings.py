"""Rules of public docstrings: they can be read alone, in a tooltip or a reference."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.prose import ROOT

PACKAGES = ("fastif", "storage", "tasks", "flows")
OPENING = re.compile(r"(Of|The same|What|How|Which|As)\b|An? [^.:;]*\bthat\b")
"""First words of a sentence that names nothing."""
FRAGMENT = re.compile(
    r"(of|as|by|from|in|for|to|with|the same|what|how|those|this|that|it|its|their|see|where)\b",
    re.IGNORECASE,
)
"""First words of an entry that cannot be read without the function's name."""
ENTRY = re.compile(r"^ {4}(\*{0,2}\w+)(?: \([^)]*\))?: (.*)$")


def find_faults(path: Path) -> list[str]:
    """Each public docstring of a module that breaks a rule: place, name, sentence."""
    faults = []
    for name, line, text in _list_docstrings(path):
        first = " ".join(text.split("\n\n")[0].split())
        place = f"{path.relative_to(ROOT)}:{line}: {name}"
        if OPENING.match(first):
            faults.append(f"{place}: begins with {first[:60]!r}")
        faults += [
            f"{place}: entry {entry!r}" for entry in _list_entries(text) if _is_fragment(entry)
        ]
    return faults


def _list_docstrings(path: Path) -> Iterator[tuple[str, int, str]]:
    """Docstrings of the module, of public classes, functions and methods, and of fields."""
    tree = ast.parse(path.read_text("utf-8"))
    yield from _walk(tree, path.stem)


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, int, str]]:
    """Docstring of a node, and those below it whose name is public."""
    text = ast.get_docstring(node)
    if text:
        yield name, getattr(node, "lineno", 1), text
    body = node.body
    for before, child in zip([None, *body], body, strict=False):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            if not child.name.startswith("_"):
                yield from _walk_child(child)
        elif _is_text(child) and isinstance(before, ast.AnnAssign | ast.Assign):
            target = before.target if isinstance(before, ast.AnnAssign) else before.targets[0]
            if isinstance(target, ast.Name) and not target.id.startswith("_"):
                yield target.id, child.lineno, child.value.value


def _walk_child(child: ast.FunctionDef | ast.ClassDef) -> Iterator[tuple[str, int, str]]:
    if isinstance(child, ast.ClassDef):
        yield from _walk(child, child.name)
    elif text := ast.get_docstring(child):
        yield child.name, child.lineno, text


def _is_text(node: ast.AST) -> bool:
    is_value = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_value and isinstance(node.value.value, str)


def _list_entries(text: str) -> list[str]:
    """Lines of the sections `Args:` and `Attributes:`, each with its name."""
    entries, inside = [], False
    for line in text.splitlines():
        if re.match(r"^\w+:$", line):
            inside = line in ("Args:", "Attributes:")
        elif inside and (match := ENTRY.match(line)):
            entries.append(f"{match.group(1)}: {match.group(2)}")
    return entries


def _is_fragment(entry: str) -> bool:
    """Whether an entry names no thing: it goes on the sentence of its name, or is a single word."""
    _, _, text = entry.partition(": ")
    return bool(FRAGMENT.match(text)) or len(text.split()) < 2


def find_all_faults() -> list[str]:
    """Faults of every module of the packages."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [fault for path in paths for fault in find_faults(path)]
