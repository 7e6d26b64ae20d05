"""Features of a table without text, and what is said of the columns that are left out."""

import random

import polars as pl
import pytest
from made_tables import infer


@pytest.mark.parametrize("odd", ["NA", "-", "12 %", "€ 5", "1.234,5"])
def test_numbers_with_odd_cells_are_not_left_out_silently(tmp_path, odd):
    draw = random.Random(0)
    columns = {
        "a": [odd if draw.random() < 0.1 else f"{draw.gauss(0, 1):.6f}" for _ in range(200)],
        "b": [draw.gauss(0, 1) for _ in range(200)],
        "day": ["2026-01-01", "2026-01-02"] * 100,
        "label": [draw.choice([0, 1]) for _ in range(200)],
    }
    pl.DataFrame(columns).write_csv(tmp_path / "t.csv")
    roles = infer(None, tmp_path / "t.csv").train
    reason = roles.content.reasons["features"]
    assert roles.features == ("b",)
    assert f'"a" is left out, since it holds "{odd}" among numbers' in reason.doubt
    assert '"day" (date, 2 values)' in reason.text
