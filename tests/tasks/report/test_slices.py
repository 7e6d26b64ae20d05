"""Effects by slice and by source, against sums over what the store holds."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, ttest_1samp

from tasks.report.slices import summarize_slices


def test_the_matrix_sums_what_the_store_holds(data):
    slices = summarize_slices(data)
    assert (slices.slice_name, slices.source_name) == ("kind", "label")
    labels = dict(data.train.select("train", "label").iter_rows())
    kinds = dict(data.queries.select("query", "group_kind").iter_rows())
    sums: dict = {}
    for query, train, effect in data.scores.select("query", "train", "removal_effect").iter_rows():
        key = (labels[train], kinds[query])
        sums[key] = sums.get(key, 0.0) + effect
    effects = {
        (s, q): e for s, q, e in slices.matrix.select("source", "slice", "effect").iter_rows()
    }
    assert effects.keys() == sums.keys()
    assert all(effects[key] == pytest.approx(sums[key], rel=1e-6) for key in sums)


def test_a_slices_effects_correlate_as_numpy_says(data):
    correlations = summarize_slices(data).correlations
    kinds = dict(data.queries.select("query", "group_kind").iter_rows())
    a, b = sorted(set(kinds.values()))[:2]
    vectors = {a: np.zeros(len(data.train)), b: np.zeros(len(data.train))}
    scored_rows = set()
    for query, train, effect in data.scores.select("query", "train", "removal_effect").iter_rows():
        scored_rows.add(train)
        if kinds[query] in vectors:
            vectors[kinds[query]][train] += effect
    rows = sorted(scored_rows)
    actual = correlations.filter((pl.col("a") == a) & (pl.col("b") == b))["correlation"].item()
    assert actual == pytest.approx(pearsonr(vectors[a][rows], vectors[b][rows])[0], abs=1e-6)


def test_a_source_is_tested_over_queries(data):
    query_ids = data.scores["query"].unique().to_list()
    for row in summarize_slices(data).ranking:
        source_rows = data.train.filter(pl.col("label") == row["source"])["train"].to_list()
        sums = [
            float(data.scores.filter((pl.col("query") == q) & pl.col("train").is_in(source_rows))
                  ["removal_effect"].cast(pl.Float64).sum())
            for q in query_ids
        ]  # fmt: skip
        assert row["mean"] == pytest.approx(np.mean(sums), rel=1e-6)
        assert row["p"] == pytest.approx(ttest_1samp(sums, 0.0).pvalue, rel=1e-5)
        assert row["q"] >= row["p"]
