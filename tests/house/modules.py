"""The page of modules: each file with the first sentence of its docstring, by subpackage."""

from itertools import groupby
from pathlib import Path

from tests.house.figures import ROOT, list_modules, summarize

PAGE = ROOT / "docs" / "development" / "modules.md"
HEAD = """# Modules

Every module with the first sentence of its docstring; `python -m tests.house write` makes this
page and a test holds it. The subpackages and the order of their imports:
[architecture](architecture.md).
"""


def render_page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for subpackage, modules in groupby(
        list_modules(), key=lambda module: _name_subpackage(module[1])
    ):
        rows = [(path, summarize(path)) for _, path in modules]
        parts.append(f"\n## `{subpackage}`\n")
        intro = next((summary for path, summary in rows if path.name == "__init__.py"), None)
        if intro:
            parts.append(f"\n{intro}\n")
        listed = [(path.name, summary) for path, summary in rows if path.name != "__init__.py"]
        if listed:
            parts.append("\n| file | holds |\n| --- | --- |\n")
            parts.extend(
                f"| `{name}` | {summary.replace('|', '&#124;')} |\n" for name, summary in listed
            )
    return "".join(parts)


def _name_subpackage(path: Path) -> str:
    return f"{path.parent.relative_to(ROOT)}/"
