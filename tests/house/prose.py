"""Prose of the project: docstrings, comments and messages of modules, pages without their code."""

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("fastif", "storage", "tasks", "flows", "tests", "benchmarks", "examples", "docs")
SUFFIXES = {".py", ".md", ".jinja", ".html", ".j2", ".toml", ".js", ".css"}
CODE = re.compile(r"```.*?```|``.*?``|`[^`]*`|<!--.*?-->|\]\([^)]*\)|\{[{%].*?[%}]\}", re.DOTALL)
"""What a page or a docstring quotes: names and values that are frozen may stand there."""


def list_texts(root: Path = ROOT) -> list[Path]:
    """Every file with prose that we wrote, in order; none of what was built."""
    pages = [path for path in root.glob("*.md") if path.name != "CHANGELOG.md"]
    below = [path for folder in FOLDERS for path in (root / folder).rglob("*")]
    return sorted(path for path in pages + below if path.is_file() and _is_ours(path, root))


def _is_ours(path: Path, root: Path) -> bool:
    """Whether a file holds prose that somebody wrote: neither built, nor a kept result."""
    parts = path.relative_to(root).parts
    is_built = "out" in parts or any(part.startswith(".") for part in parts)
    return path.suffix in SUFFIXES and not is_built


def read_prose(path: Path) -> list[tuple[int, str]]:
    """Pieces of prose of a file with the line on which each begins, white space collapsed."""
    text = path.read_text("utf-8")
    pieces = _read_module(text) if path.suffix == ".py" else [(1, text)]
    return [(line, " ".join(CODE.sub(" ` ", piece).split())) for line, piece in pieces]


def _read_module(source: str) -> list[tuple[int, str]]:
    """Texts of more than one word, f-strings joined, and blocks of comments."""
    pieces, inside = [], set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(value) for value in node.values}
            words = [
                value.value if isinstance(value, ast.Constant) else "…" for value in node.values
            ]
            pieces.append((node.lineno, "".join(map(str, words))))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_whole = id(node) not in inside
            if is_whole and " " in node.value.strip():
                pieces.append((node.lineno, node.value))
    block, start, last = [], 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            if line != last + 1:
                pieces += [(start, " ".join(block))] if block else []
                block, start = [], line
            block.append(token.string.lstrip("#").strip())
            last = line
    return pieces + ([(start, " ".join(block))] if block else [])
