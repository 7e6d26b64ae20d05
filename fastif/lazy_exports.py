"""Lazy exports of a package: names that are imported on first use only."""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def make_getattr(package: str, file: str) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package that imports its exports and submodules on first use.

    The exports are the imports of the package's block `if typing.TYPE_CHECKING:`, which type
    checkers and documentation read as well.

    Args:
        package: Name of the package.
        file: Path of the package's initialisation file, its `__file__`.
    """
    modules = read_guarded_imports(Path(file).read_text("utf-8"))

    def getattr_(name: str) -> Any:
        if name in modules:
            value = getattr(importlib.import_module(modules[name]), name)
        elif not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}"):
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return getattr_


def read_guarded_imports(source: str) -> dict[str, str]:
    r"""Read the names imported for type checkers only, with their modules.

    >>> read_guarded_imports("if typing.TYPE_CHECKING:\n    from a.b import C, D\nimport e")
    {'C': 'a.b', 'D': 'a.b'}
    """
    return {
        alias.name: node.module
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "typing.TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
