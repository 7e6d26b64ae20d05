"""Versions of other packages, and late import of functions that need them."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def find_version(package: str) -> str | None:
    """Return the installed version; None if the package is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load_function(folder: str, call: str) -> Callable[..., Any]:
    """Import a module and return a function of it.

    Args:
        folder: Package of the module, such as "benchmarks.peers".
        call: Module and function, such as "captum:tracin".
    """
    file, _, name = call.partition(":")
    return getattr(import_module(f"{folder}.{file}"), name)
