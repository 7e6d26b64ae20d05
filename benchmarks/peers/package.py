"""Packages by name: which version is installed, and functions that need one, imported late."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def find_version(package: str) -> str | None:
    """The installed version; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load_function(folder: str, call: str) -> Callable[..., Any]:
    """A function by "file:name" in a folder of modules; from here on its package is imported.

    Args:
        folder: such as "benchmarks.peers".
        call: such as "captum:tracin".
    """
    file, _, name = call.partition(":")
    return getattr(import_module(f"{folder}.{file}"), name)
