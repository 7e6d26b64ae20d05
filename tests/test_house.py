"""The house rules that no linter holds: exported names, sizes of files, names of variables."""

import ast
import re
from pathlib import Path

import fastif
import fastif.mislabels
import storage

ROOT = Path(__file__).parents[1]
PACKAGES = ("fastif", "storage", "tasks", "flows")

EXPORTS = [(fastif, 40), (fastif.mislabels, 20), (storage, 20)]
"""Packages that are used from a notebook, and how many names each may export."""


def _find_docstring(value: object) -> str:
    """What is written about a name itself, not about a class's parent or by `dataclass`."""
    text = vars(value).get("__doc__") if isinstance(value, type) else value.__doc__
    is_generated = isinstance(value, type) and str(text).startswith(f"{value.__name__}(")
    return "" if text is None or is_generated else text


def test_packages_export_few_names():
    for package, limit in EXPORTS:
        assert len(package.__all__) <= limit, package.__name__
        assert sorted(set(package.__all__)) == sorted(package.__all__), package.__name__


def test_exports_are_all_that_a_package_imports():
    for package, _ in EXPORTS:
        for name in package.__all__:
            getattr(package, name)  # an export of `fastif` is imported on first use
        public = {
            name
            for name, value in vars(package).items()
            if not name.startswith("_") and type(value).__name__ != "module"
        }
        # `X as X` marks what is importable and no export; it is there once a test has used it
        hidden = re.findall(r"\b(\w+) as \1\b", Path(package.__file__).read_text("utf-8"))
        assert public - set(hidden) == set(package.__all__), package.__name__


def test_every_export_is_explained():
    unexplained = [
        f"{package.__name__}.{name}"
        for package, _ in EXPORTS
        for name in package.__all__
        if callable(getattr(package, name))
        and len(_find_docstring(getattr(package, name)).split()) < 4
    ]
    assert unexplained == []


MAX_LINES, MAX_CODE_LINES = 300, 40
VAGUE = {"found", "told", "asked", "one", "mine", "said", "seen", "heard"}
FROZEN = {"tasks/results/alerts.py"}
"""`Breach.found` is a key of the JSON that alerts send."""


def list_files(*folders: str) -> list[Path]:
    """Python files below some folders, in order; none of hidden ones, which hold what was made."""
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]


def list_bindings(path: Path) -> set[str]:
    """Variables and parameters that a file binds."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def measure_functions(path: Path) -> dict[str, int]:
    """Lines of code of each function of a file: without docstring, blank lines and comments."""
    source = path.read_text()
    lines = source.splitlines()
    sizes = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [*lines[node.lineno - 1 : node.end_lineno]]
            if ast.get_docstring(node) is not None:
                text = node.body[0]
                del body[text.lineno - node.lineno : text.end_lineno - node.lineno + 1]
            code = [line for line in map(str.strip, body) if line and not line.startswith("#")]
            name = f"{path.relative_to(ROOT)}:{node.name}"
            sizes[name] = max(len(code), sizes.get(name, 0))
    return sizes


def test_no_function_of_the_packages_is_long():
    sizes = [item for path in list_files(*PACKAGES) for item in measure_functions(path).items()]
    assert {name: size for name, size in sizes if size > MAX_CODE_LINES} == {}


def test_no_file_is_long():
    files = list_files(*PACKAGES, "tests", "benchmarks", "examples")
    sizes = {path: len(path.read_text().splitlines()) for path in files}
    assert {path: size for path, size in sizes.items() if size > MAX_LINES} == {}


def test_no_variable_has_a_vague_name():
    files = list_files(*PACKAGES, "tests", "benchmarks")
    vague = {str(path.relative_to(ROOT)): list_bindings(path) & VAGUE for path in files}
    assert {path for path, names in vague.items() if names} <= FROZEN
