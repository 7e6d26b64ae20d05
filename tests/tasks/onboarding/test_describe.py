"""Warnings about an inferred study."""

import polars as pl
import pytest
from made_tables import infer

from tasks.onboarding.describe import list_warnings


@pytest.mark.parametrize(
    ("count", "rare", "warning"),
    [(8, 0, "Only 8 training rows"), (60, 1, 'label "odd":'), (60, 2, 'label "odd":'), (60, 3, "")],
)
def test_few_rows_are_reported(rows, tmp_path, count, rare, warning):
    odd = pl.when(pl.int_range(pl.len()) < rare).then(pl.lit("odd")).otherwise(pl.col("label"))
    rows.head(count).with_columns(label=odd).write_csv(tmp_path / "t.csv")
    warnings = [w for w in list_warnings(infer(None, tmp_path / "t.csv")) if "encoder" not in w]
    assert [warning in each for each in warnings] == [True] * bool(warning)


def test_the_text_is_no_better_label(rows, tmp_path):
    rows.write_csv(tmp_path / "t.csv")
    content = infer(None, tmp_path / "t.csv", text=["label"]).train.content
    assert content.label == "source"
    assert "neither its name" in content.reasons["label"].doubt
