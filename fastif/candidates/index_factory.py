"""FAISS loading and index creation from factory strings, with checks of size and kind."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from fastif.errors import InputError

BUILDS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
"""Distributions that install the module `faiss`."""

FACTORY_KEY = "[candidates] factory"
ERROR_PREFIX = re.compile(r"^Error in .* at \S+:\d+: ")
"""Source location at the start of FAISS' error messages."""

SIZE_LIMITS = {
    "links of a vector in the graph": (re.compile(r"(?:HNSW|NSG)(\d+)"), 2, 512),
    "cells": (re.compile(r"IVF(\d+)"), 1, 2**24),
    "columns of a rotation": (re.compile(r"(?:RR|ITQ|Pad)(\d+)"), 1, 2**16),
}
"""Smallest and largest valid sizes in a factory string.

FAISS accepts other numbers silently, and fails or ends the process when vectors are added.
"""
PROJECTED = re.compile(r"PCA[WR]*(\d+)")

NSG_ROWS = 101
"""Smallest number of vectors in an NSG graph."""


def make_index(
    factory: str, width: int, count: int | None = None, *, products: bool = False
) -> Any:
    """Make an empty, untrained FAISS index from a factory string.

    Args:
        factory: FAISS factory string.
        width: Width d of the vectors.
        count: Number of vectors; None where it is not known yet.
        products: Whether to search by inner product instead of L2 distance.

    Raises:
        InputError: FAISS rejects the string, or its index takes ids with each vector, uses
            another metric, or needs more vectors.
    """
    faiss = load_faiss()
    _check_sizes(factory, width, count)
    metric = faiss.METRIC_INNER_PRODUCT if products else faiss.METRIC_L2
    with translate_faiss_errors(factory, width, count):
        index = faiss.index_factory(width, factory, metric)
    components = list(_iterate_components(faiss, index))
    if any(isinstance(component, faiss.IndexIDMap | faiss.IndexIDMap2) for component in components):
        raise _factory_error(
            factory, width, count, "its vectors must come with ids; here ids are positions"
        )
    if not products and any(isinstance(component, faiss.IndexLattice) for component in components):
        raise _factory_error(
            factory, width, count, "FAISS cannot read back the file of such an index"
        )
    if any(component.metric_type != metric for component in components):
        measure = "inner products" if products else "distances"
        raise _factory_error(factory, width, count, f"it does not search by {measure}")
    min_rows = max(_min_rows(faiss, component) for component in components)
    if count is not None and count < min_rows:
        raise _factory_error(factory, width, count, f"it needs {min_rows:,} rows or more")
    return index


def _check_sizes(factory: str, width: int, count: int | None) -> None:
    """Refuse sizes for which FAISS makes an index but cannot fill it."""
    for quantity, (pattern, minimum, maximum) in SIZE_LIMITS.items():
        if any(not minimum <= int(size) <= maximum for size in pattern.findall(factory)):
            raise _factory_error(
                factory, width, count, f"valid are {minimum} to {maximum:,} {quantity}"
            )
    if any(not 1 <= int(size) <= width for size in PROJECTED.findall(factory)):
        raise _factory_error(factory, width, count, f"PCA keeps 1 to {width:,} columns")


@contextmanager
def translate_faiss_errors(factory: str, width: int, count: int | None) -> Iterator[None]:
    """Translate exceptions of FAISS into an InputError about the factory string.

    Raises:
        InputError: FAISS raised.
    """
    try:
        yield
    except RuntimeError as error:
        raise _factory_error(factory, width, count, _format_reason(error)) from error


def _factory_error(factory: str, width: int, count: int | None, reason: str) -> InputError:
    rows = "rows" if count is None else f"{count} rows"
    return InputError(
        FACTORY_KEY,
        f"a FAISS factory string that fits {rows} of width {width}",
        f"{factory!r} ({reason})",
        'Use "Flat" (exact), or fewer cells than rows in "IVF..."; see the FAISS wiki.',
    )


def _iterate_components(faiss: ModuleType, index: Any) -> Iterator[Any]:
    """Yield the index and the indexes to which it passes its vectors; not the coarse quantizer."""
    index = faiss.downcast_index(index)
    yield index
    inner_index = getattr(index, "index", None)
    if inner_index is not None:
        yield from _iterate_components(faiss, inner_index)
    base_index = getattr(index, "base_index", None)  # a refining index has one
    if base_index is not None:
        yield from _iterate_components(faiss, base_index)


def _min_rows(faiss: ModuleType, index: Any) -> int:
    """Smallest number of vectors from which an index can train its cells and codes."""
    if isinstance(index, faiss.IndexNSG):
        return NSG_ROWS
    code = getattr(index, "pq", None)
    return max(getattr(index, "nlist", 1), getattr(code, "ksub", 1))


def load_faiss() -> ModuleType:
    """Import FAISS, if exactly one of its builds is installed.

    Raises:
        InputError: Several builds are installed, or none, or its libraries cannot be loaded.
    """
    builds = find_faiss_builds()
    if len(builds) != 1:
        raise InputError(
            "FAISS",
            "exactly one of faiss-cpu and faiss-gpu (they install the same module)",
            " and ".join(f"{name} {build_version}" for name, build_version in builds.items())
            or "neither",
            "Run `pip uninstall faiss-cpu faiss-gpu`, then install fastif[cpu] or fastif[gpu].",
        )
    try:
        import faiss
    except (ImportError, OSError) as error:  # such as a CUDA library that is not there
        raise InputError(
            "FAISS",
            "a build that can be loaded",
            f"{', '.join(builds)}: {next(iter(str(error).splitlines()), type(error).__name__)}",
            "Install the CUDA libraries that it needs, or faiss-cpu in its place: exact searches "
            "run on a GPU by torch.",
        ) from error
    return faiss


def find_faiss_builds() -> dict[str, str]:
    """Versions of the installed FAISS builds, by distribution name."""
    builds = {}
    for name in BUILDS:
        try:
            builds[name] = version(name)
        except PackageNotFoundError:
            continue
    return builds


def _format_reason(error: RuntimeError) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return ERROR_PREFIX.sub("", lines[-1].strip())[:160] if lines else "no reason given"
