"""FAISS, and indices made from its factory strings; what does not fit is refused."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from fastif.errors import InputError

WHERE = "[candidates] factory"
AT = re.compile(r"^Error in .* at \S+:\d+: ")
"""Where in its own source FAISS raised."""

SIZES = {
    "links a row of its graph": (re.compile(r"(?:HNSW|NSG)(\d+)"), 2, 512),
    "cells": (re.compile(r"IVF(\d+)"), 1, 2**24),
    "columns of a rotation": (re.compile(r"(?:RR|ITQ|Pad)(\d+)"), 1, 2**16),
}
"""Least and most of what a string asks for: FAISS takes other numbers without a word, and ends the
whole process, or fails, once rows are added."""
PROJECTED = re.compile(r"PCA[WR]*(\d+)")

NSG_ROWS = 101
"""FAISS builds no smaller graph of this kind."""


def made_index(
    factory: str, width: int, count: int | None = None, *, products: bool = False
) -> Any:
    """An index without rows, not trained yet.

    Args:
        factory: FAISS' name of a kind of index.
        width: of the rows.
        count: of the rows; None where it is not known yet.
        products: search by inner product and not by distance.

    Raises:
        InputError: FAISS does not understand the string, or its index takes ids with each row,
            searches by another measure, or needs more rows.
    """
    faiss = load_faiss()
    _check_sizes(factory, width, count)
    metric = faiss.METRIC_INNER_PRODUCT if products else faiss.METRIC_L2
    with refused(factory, width, count):
        index = faiss.index_factory(width, factory, metric)
    parts = list(_parts(faiss, index))
    if any(isinstance(part, faiss.IndexIDMap | faiss.IndexIDMap2) for part in parts):
        raise _refusal(
            factory, width, count, "its rows must come with ids, here they are positions"
        )
    if not products and any(isinstance(part, faiss.IndexLattice) for part in parts):
        raise _refusal(factory, width, count, "FAISS cannot read back what it writes of one")
    if any(part.metric_type != metric for part in parts):
        wanted = "inner products" if products else "distances"
        raise _refusal(factory, width, count, f"it does not search by {wanted}")
    least = max(_least_rows(faiss, part) for part in parts)
    if count is not None and count < least:
        raise _refusal(factory, width, count, f"it needs {least:,} rows or more")
    return index


def _check_sizes(factory: str, width: int, count: int | None) -> None:
    """Refuse sizes that FAISS makes an index of and cannot fill."""
    for what, (pattern, least, most) in SIZES.items():
        if any(not least <= int(size) <= most for size in pattern.findall(factory)):
            raise _refusal(factory, width, count, f"{least} to {most:,} {what} can be had")
    if any(not 1 <= int(size) <= width for size in PROJECTED.findall(factory)):
        raise _refusal(factory, width, count, f"PCA leaves 1 to {width:,} columns")


@contextmanager
def refused(factory: str, width: int, count: int | None) -> Iterator[None]:
    """What FAISS raises, as a refusal of the factory string.

    Raises:
        InputError: FAISS raised.
    """
    try:
        yield
    except RuntimeError as error:
        raise _refusal(factory, width, count, _reason(error)) from error


def _refusal(factory: str, width: int, count: int | None, why: str) -> InputError:
    rows = "rows" if count is None else f"{count} rows"
    return InputError(
        WHERE,
        f"a FAISS factory string that fits {rows} of width {width}",
        f"{factory!r} ({why})",
        'Use "Flat" (exact), or fewer cells than rows in "IVF..."; see the FAISS wiki.',
    )


def _parts(faiss: ModuleType, index: Any) -> Iterator[Any]:
    """The index and what it hands its rows on to; not what finds the cells of another."""
    index = faiss.downcast_index(index)
    yield index
    inside = getattr(index, "index", None)
    if inside is not None:
        yield from _parts(faiss, inside)
    base = getattr(index, "base_index", None)  # of an index that refines what it finds
    if base is not None:
        yield from _parts(faiss, base)


def _least_rows(faiss: ModuleType, index: Any) -> int:
    """The fewest rows that an index can learn its cells and codes from."""
    if isinstance(index, faiss.IndexNSG):
        return NSG_ROWS
    code = getattr(index, "pq", None)
    return max(getattr(index, "nlist", 1), getattr(code, "ksub", 1))


def load_faiss() -> ModuleType:
    """The FAISS module, if exactly one of its two builds is installed.

    Raises:
        InputError: both builds are installed, or neither.
    """
    builds = faiss_builds()
    if len(builds) != 1:
        raise InputError(
            "FAISS",
            "exactly one of faiss-cpu and faiss-gpu (they install the same module)",
            " and ".join(f"{name} {found}" for name, found in builds.items()) or "neither",
            "Run `pip uninstall faiss-cpu faiss-gpu`, then install fastif[cpu] or fastif[gpu].",
        )
    import faiss

    return faiss


def faiss_builds() -> dict[str, str]:
    """The installed FAISS builds and their versions."""
    found = {}
    for name in ("faiss-cpu", "faiss-gpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _reason(error: RuntimeError) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return AT.sub("", lines[-1].strip())[:160] if lines else "no reason given"
