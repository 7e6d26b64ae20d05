"""Every annotation of `fastif`, shapes of arrays included, checked at a function's first calls.

What jaxtyping's own import hook checks, at a third of its price: that binds the arguments again and
checks them twice at each call, also of functions without an array. Here beartype checks once, and a
scope of axis names is opened only for functions that name axes. A function's first calls in a
process are checked: later ones, in loops over batches and steps, have the shapes of the first, and
took a third of the time of the tests. `FASTIF_CHECK_SHAPES=every` checks them all.
"""

import ast
import dataclasses
import functools
import inspect
import os
import sys
import typing
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import decode_source
from types import CodeType, ModuleType

from beartype import beartype
from jaxtyping import AbstractArray, jaxtyped

AXES = jaxtyped("context")
"""Entered for a call: the scope in which an axis has one size."""


CHECKED_CALLS = sys.maxsize if os.environ.get("FASTIF_CHECK_SHAPES") == "every" else 50
"""Number of calls of a function that are checked in a process."""
CALLS: Counter[CodeType] = Counter()
"""Checked calls by code: a function inside another one is a new function at each call of that."""


def install(package: str) -> None:
    """Check all functions and dataclasses of a package that is not imported yet."""
    if package in sys.modules:
        raise RuntimeError(f"{package} is imported already and would not be checked")
    sys.meta_path.insert(0, _Finder(package))


def check(wanted):
    """The same function or class, which raises where an annotation does not hold."""
    if inspect.isclass(wanted):
        if dataclasses.is_dataclass(wanted) and not hasattr(wanted.__init__, "is_checked"):
            wanted.__init__ = check(wanted.__init__)
        return wanted
    if CALLS[wanted.__code__] >= CHECKED_CALLS:
        return wanted
    if inspect.isgeneratorfunction(wanted):  # beartype would check at the first step, in its scope
        return jaxtyped(wanted, typechecker=beartype)
    first_calls = _check_first_calls(wanted)
    first_calls.is_checked = True
    return first_calls


def _check_first_calls(function: Callable) -> Callable:
    code, checked, scope = function.__code__, None, nullcontext()

    @functools.wraps(function)
    def call(*args, **kwargs):
        __tracebackhide__ = True
        nonlocal checked, scope
        if CALLS[code] >= CHECKED_CALLS:
            return function(*args, **kwargs)
        if checked is None:  # at the first call: most functions are not called in a process
            annotations = inspect.get_annotations(function)
            scope = AXES if any(map(_names_axes, annotations.values())) else nullcontext()
            checked = beartype(function)
        CALLS[code] += 1
        with scope:
            return checked(*args, **kwargs)

    return call


def _names_axes(annotation: object) -> bool:
    """Whether it has the shape of an array in it; what is still a string may have."""
    if isinstance(annotation, list | tuple):
        return any(map(_names_axes, annotation))
    if isinstance(annotation, str | typing.ForwardRef):
        return True
    if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
        return True
    return any(map(_names_axes, typing.get_args(annotation)))


class _Finder(MetaPathFinder):
    def __init__(self, package: str):
        self.package = package

    def find_spec(self, fullname, path=None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.split(".")[0] != self.package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname):
        """Compiled again: what is in __pycache__ has no checks, and must have none."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def source_to_code(self, data, path, *, _optimize=-1):
        tree = ast.parse(decode_source(data), path)
        return compile(_Decorate().visit(tree), path, "exec", dont_inherit=True, optimize=_optimize)


class _Decorate(ast.NodeTransformer):
    """The check goes next to a function, under its decorators, and over those of a class."""

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.decorator_list.append(_decorator(node))
        return node

    def visit_ClassDef(self, node):
        self.generic_visit(node)
        node.decorator_list.insert(0, _decorator(node))
        return node


def _decorator(node: ast.AST) -> ast.expr:
    decorator = ast.parse(f"__import__('sys').modules[{__name__!r}].check", mode="eval").body
    for part in ast.walk(decorator):
        ast.copy_location(part, node)
    return decorator
