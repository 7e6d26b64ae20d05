"""Forecast of the memory of a lookup, against the sizes of what it holds."""

import pytest
import torch

from fastif import InputError
from fastif.candidates import head_index
from fastif.candidates.head_index import HeadIndex
from fastif.candidates.sketch_index import SketchBlock, SketchIndex
from tasks.service.memory_forecast import (
    LIBRARY_BYTES,
    MemoryForecast,
    check_memory,
    forecast_memory,
)


def test_the_forecast_covers_all_tensors_of_the_index(engine, monkeypatch):
    monkeypatch.setattr(head_index, "SCANNED_ROWS", 1000)
    rows = torch.randn(6000, engine.sketcher.dimensions).half()
    sketches = SketchIndex([SketchBlock(lambda: rows, torch.arange(6000), torch.arange(6000))])
    index = HeadIndex.build(sketches)
    held = (index.heads, index.inverse_norms, index.blocks, index.places)
    forecast = forecast_memory(engine.sketcher, sketches, engine.train, engine.model.objective)
    assert forecast.resident - LIBRARY_BYTES >= sum(tensor.nbytes for tensor in held)
    assert forecast.cached == rows.nbytes
    assert str(forecast).startswith("about 0.")


def test_too_little_memory_is_refused():
    with pytest.raises(InputError, match=r"memory: expected 1000000\.0 GB"):
        check_memory(MemoryForecast(10**15, 0))
