"""Doubtful rows of a mislabel table: those with evidence against their labels."""

import polars as pl

MIN_PROBABILITY = 0.01
"""Least probability of a wrong label of a row that is shown, exported without `--budget`, or
counted as suspicious."""


def select_doubtful(rows: pl.DataFrame) -> pl.DataFrame:
    """Select rows with a probability of `MIN_PROBABILITY` or more, or without one."""
    probability = pl.col("probability")
    return rows.filter(probability.is_null() | (probability >= MIN_PROBABILITY))
