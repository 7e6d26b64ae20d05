"""Tables without a header, and headers that resemble cells."""

import polars as pl
import pytest

from tasks.onboarding.profiled_table import open_table
from tasks.study.errors import StudyError

ROLES = ("id", "text", "label", "source", "day")


@pytest.mark.parametrize("columns", [ROLES, ("text", "label"), ("label", "second", "source")])
def test_a_table_without_a_header_is_refused(rows, tmp_path, columns):
    rows.select(columns).write_csv(tmp_path / "t.csv", include_header=False)
    with pytest.raises(StudyError, match="a first line with the names of the columns"):
        open_table(tmp_path / "t.csv", "train")
    numbers = pl.DataFrame({"a": [0.5, 1.5] * 50, "b": ["x", "y"] * 50})
    numbers.write_csv(tmp_path / "t.csv", include_header=False)
    with pytest.raises(StudyError, match="a first line with the names of the columns"):
        open_table(tmp_path / "t.csv", "queries")


@pytest.mark.parametrize(
    "columns",
    [
        {"0": [0.5, 2.5] * 50, "1": [3, 4] * 50, "2": [0, 1, 2, 3] * 25},
        {"text": ["some words", "and others"] * 50, "spam": ["spam", "ham"] * 50},
        {"country": ["A", "B"] * 50, "2024": [1, 2] * 50, "2025": [3, 4] * 50},
        {"word": [f"{i}" * 8 + "x" for i in range(100)], "label": ["a", "b"] * 50},
    ],
)
def test_a_header_that_resembles_cells_is_a_header(tmp_path, columns):
    pl.DataFrame(columns).write_csv(tmp_path / "t.csv")
    assert open_table(tmp_path / "t.csv", "train").columns == [*columns]
