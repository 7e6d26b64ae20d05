"""Check of effects by sketches against those that the night stored for its queries."""

import polars as pl
import torch

from fastif.losses.query_measure import QUERY_MEASURES
from fastif.numerics.correlation import pearson
from storage import Store
from storage.example_schemas import fill_measure
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
    sketches = _compute_sketches(engine, store, run, queries, places)
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


def _compute_sketches(
    engine: Engine, store: Store, run: str, queries: Table, places: list[int]
) -> torch.Tensor:
    """Sketches [q d] of queries, each by the measure and the target that the run has stored."""
    stored = fill_measure(store.scan("queries", run)).filter(pl.col("query").is_in(places))
    columns = stored.sort("query").select("label", "prediction", "measure").collect()
    names, labels = columns["measure"].to_list(), engine.study.labels
    targets = [
        labels.index(label if QUERY_MEASURES[name].needs_label else prediction or labels[0])
        for label, prediction, name in columns.rows()
    ]
    examples = engine.model.encode(queries.take(places).with_labels(targets))
    sketches = torch.empty(len(places), engine.sketcher.dimensions)
    for name in dict.fromkeys(names):
        ids = torch.tensor([place for place, other in enumerate(names) if other == name])
        sketches[ids] = engine.compute_sketches(examples, ids, QUERY_MEASURES[name])
    return sketches


def _find_same_queries(engine: Engine, store: Store, run: str, queries: Table) -> list[int]:
    """Positions of queries that are the same rows in the present table and in the run."""
    before = read_row_digests(store, run, "queries")
    now = row_digests(queries, engine.study.labels)
    return [
        place for place, pair in enumerate(zip(now, before, strict=False)) if len(set(pair)) == 1
    ]
