"""Check of effects by sketches against those that the night stored for its queries."""

import polars as pl
import torch

from fastif.numerics.correlation import pearson
from storage import Store
from tasks.data.dataset import Table
from tasks.data.row_hashes import read_row_digests, row_digests
from tasks.service.engine import Engine
from tasks.service.trust import EffectCheck

CHECKED_QUERIES = 32
"""Number of queries whose stored effects are compared."""


def check_effects(engine: Engine, store: Store, run: str, queries: Table) -> EffectCheck | None:
    """Compare effects by sketches with the stored ones of the same pairs.

    The queries are rows of the present query table that the run has at the same position; None if
    there are none with two stored effects or more.
    """
    places = _find_same_queries(engine, store, run, queries)[:CHECKED_QUERIES]
    if not places:
        return None
    rows = queries.take(places)
    sketches = engine.compute_sketches(engine.model.encode(rows), torch.arange(len(rows)))
    scores = store.scan("scores", run).filter(pl.col("query").is_in(places))
    stored = (
        scores.select("query", "train", "removal_effect")
        .collect()
        .partition_by("query", as_dict=True)
    )
    correlations, signs = [], []
    for place, sketch in zip(places, sketches, strict=True):
        pairs = stored.get((place,))
        if pairs is None or len(pairs) < 2:
            continue
        ids = torch.tensor(pairs["train"].to_list())
        actual = torch.tensor(pairs["removal_effect"].to_list()).double()
        effects = engine.index.take(ids).double() @ sketch.double() / engine.index.count
        correlations.append(float(pearson(effects[None], actual[None])[0]))
        signs.append((effects.sign() == actual.sign()).double())
    if not correlations:
        return None
    median = float(torch.tensor(correlations).median())
    every = torch.cat(signs)
    return EffectCheck(median, float(every.mean()), len(correlations), len(every))


def _find_same_queries(engine: Engine, store: Store, run: str, queries: Table) -> list[int]:
    """Positions of queries that are the same rows in the present table and in the run."""
    before = read_row_digests(store, run, "queries")
    now = row_digests(queries, engine.study.labels)
    return [
        place for place, pair in enumerate(zip(now, before, strict=False)) if len(set(pair)) == 1
    ]
