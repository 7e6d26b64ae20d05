"""Figures of the packages: files, lines, subpackages, cycles, exported names, imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PACKAGES = ("fastif", "storage", "tasks", "flows")


def list_modules() -> Iterator[tuple[str, Path]]:
    """Every module of the packages with its file, in order."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def summarize(path: Path) -> str:
    """The first paragraph of a module's docstring on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def measure() -> dict[str, object]:
    """The figures by their names."""
    graph = grimp.build_graph(*PACKAGES)
    sizes = {name: len(path.read_text().splitlines()) for name, path in list_modules()}
    return {
        "files": {package: _count(sizes, package) for package in PACKAGES},
        "lines": {package: _sum(sizes, package) for package in PACKAGES},
        "files in the package itself": {
            package: len(list((ROOT / package).glob("*.py"))) for package in PACKAGES
        },
        "subpackages": {package: len(find_subpackages(package)) for package in PACKAGES},
        "files over 300 lines": sum(size > 300 for size in sizes.values()),
        "circles of modules": [len(circle) for circle in find_circles(graph, tuple(sizes))],
        "pairs of subpackages that import each other": count_mutual_subpackages(graph),
        "exported names": {name: len(list_exports(name)) for name in ("fastif", "storage")},
        "modules that `fastif --help` imports": count_help_imports(),
    }


def find_subpackages(package: str) -> list[str]:
    """Packages right below a package."""
    return sorted(path.parent.name for path in (ROOT / package).glob("*/__init__.py"))


def find_circles(graph: grimp.ImportGraph, modules: tuple[str, ...]) -> list[set[str]]:
    """Strongly connected components of more than one module (Tarjan, 1972), typing imports too."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in graph.find_modules_directly_imported_by(module):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            place = stack.index(module)
            component = set(stack[place:])
            del stack[place:]
            if len(component) > 1:
                circles.append(component)

    sys.setrecursionlimit(10_000)
    for module in modules:
        if module not in index and module in graph.modules:
            visit(module)
    return sorted(circles, key=len, reverse=True)


def count_mutual_subpackages(graph: grimp.ImportGraph) -> int:
    """Number of pairs of subpackages of a package that import each other."""
    arrows = set()
    for name, _ in list_modules():
        for target in (
            graph.find_modules_directly_imported_by(name) if name in graph.modules else ()
        ):
            source, goal = (".".join(module.split(".")[:2]) for module in (name, target))
            if source.split(".")[0] == goal.split(".")[0] and source != goal:
                arrows.add((source, goal))
    return sum((goal, source) in arrows for source, goal in arrows) // 2


def list_exports(package: str) -> list[str]:
    """The names in `__all__` of a package."""
    for node in ast.parse((ROOT / package / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def count_help_imports() -> int:
    """Modules of ours that are loaded once the command line is, in a separate process."""
    program = (
        "import sys, flows.cli\n"
        "try:\n    import flows.cli.app\nexcept ModuleNotFoundError:\n    pass\n"
        f"print(sum(name.split('.')[0] in {PACKAGES} for name in sys.modules))"
    )
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return int(answer.stdout)


def _count(sizes: dict[str, int], package: str) -> int:
    return sum(name.split(".")[0] == package for name in sizes)


def _sum(sizes: dict[str, int], package: str) -> int:
    return sum(size for name, size in sizes.items() if name.split(".")[0] == package)
