"""Stored sums of effects over the queries of a slice, against the dense truth."""

from collections.abc import Iterator

import polars as pl

from tests.fuzz.case import Case
from tests.fuzz.expected import Expected
from tests.fuzz.stored import Stored


def find_wrong_totals(
    case: Case, actual: Stored, expected: Expected, largest: float, tolerance: float
) -> Iterator[str]:
    """Sums over the queries of a slice."""
    has_totals = case.candidates["kind"] == "full" and case.candidates.get("totals", True)
    if not has_totals:
        return
    if actual.totals.is_empty():
        yield "no totals"
        return
    if not actual.solves["reason"].is_null().all():
        return  # queries without scores are in no sum
    sound = actual.queries.select("query", "correct", group="group_source")
    keys = ("train", "correct", "group")  # of each shard its own sums
    sums = actual.totals.group_by(*keys).agg(pl.col("removal_effect").sum()).sort(*keys)
    for row in sums.iter_rows(named=True):
        is_correct = pl.col("correct").eq_missing(row["correct"])
        match = is_correct & pl.col("group").eq_missing(row["group"])
        places = sound.filter(match)["query"].to_list()
        true = float(expected.mean[places, row["train"]].sum())
        if abs(true - row["removal_effect"]) > tolerance * largest * max(1, len(places)):
            yield f"total of row {row['train']}: {row['removal_effect']:.4g} is {true:.4g}"
            return
