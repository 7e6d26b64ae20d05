"""Forecast of an engine's memory, before the sketches are read."""

import sys
from dataclasses import dataclass

import fastif
from fastif import InputError
from fastif.candidates import GradientSketcher
from fastif.candidates.head_index import HEAD_LENGTH, SCANNED_ROWS
from fastif.candidates.sketch_index import SketchIndex
from tasks.data.dataset import Table
from tasks.runtime.machine_memory import count_memory_bytes

LIBRARY_BYTES = 500 * 2**20
"""Memory of Python with its libraries."""
ROW_BYTES = 4 + 4 + 4
"""Bytes of a row's norm, block and place."""
SAMPLED_ROWS = 1000
GIGABYTE = 1e9


@dataclass(frozen=True)
class MemoryForecast:
    """Memory of an engine in bytes.

    Attributes:
        resident: Memory of the process: libraries, model, sketcher, heads and training rows.
        cached: Sketches mapped from files, which the system can drop when memory is short. Answers
            are slower then, since they read from the disk.
    """

    resident: int
    cached: int

    def __str__(self) -> str:
        return (
            f"about {self.resident / GIGABYTE:.1f} GB, and {self.cached / GIGABYTE:.1f} GB of "
            "files that stay in the page cache"
        )


def forecast_memory(
    sketcher: GradientSketcher, index: SketchIndex, train: Table, objective: fastif.Objective
) -> MemoryForecast:
    """Forecast the memory of an engine."""
    count = index.count
    heads = 0 if count <= SCANNED_ROWS else 2 * count * min(HEAD_LENGTH, sketcher.dimensions)
    scores = 0 if count <= SCANNED_ROWS else 4 * count * 4  # products and cosines of one query
    basis = 2 * sketcher.basis.nbytes  # and once more whitened
    model = sum(tensor.nbytes for tensor in objective.full_model.parameters())
    total = LIBRARY_BYTES + heads + scores + ROW_BYTES * count + basis + model
    total += count * _measure_row_bytes(train)
    return MemoryForecast(total, 2 * count * sketcher.dimensions)


def check_memory(forecast: MemoryForecast) -> None:
    """Refuse to start where the memory of the machine or container is too small.

    Raises:
        InputError: The process needs more than there is.
    """
    limit = count_memory_bytes()
    if forecast.resident > limit:
        raise InputError(
            "memory",
            f"{forecast.resident / GIGABYTE:.1f} GB for this study",
            f"{limit / GIGABYTE:.1f} GB",
            "Use a machine or container with more memory.",
        )


def _measure_row_bytes(table: Table) -> int:
    """Mean size of a training row's ids and texts, from some of the rows."""
    step = -(-len(table) // SAMPLED_ROWS)
    columns = [table.ids, table.texts, table.text_pairs or []]
    sizes = [sys.getsizeof(value) + 8 for column in columns for value in column[::step]]
    return sum(sizes) * step // len(table) + 8
