"""The worst queries, their most harmful and helpful rows, and shared properties of these."""

from collections import Counter
from dataclasses import replace
from math import comb

import polars as pl
import pytest
import tiny
from audited_runs import audited

from tasks.report.causes import count_causes, find_causes
from tasks.report.duplicates import find_duplicates
from tasks.report.tfidf_space import make_tfidf_space
from tasks.report.worst_queries import make_query_cases


def test_cases_are_the_worst_queries_with_top_k_and_bottom_k(data):
    worst = make_query_cases(data, find_duplicates(data, make_tfidf_space(data)))
    losses = [case.query["loss"] for case in worst]
    assert losses == sorted(data.queries["loss"].to_list(), reverse=True)[: len(losses)]
    for case in worst:
        effects = data.scores.filter(pl.col("query") == case.query["query"])["removal_effect"]
        assert [row["effect"] for row in case.harmful] == sorted(effects.filter(effects < 0))[:3]
        helpful = sorted(effects.filter(effects > 0), reverse=True)[:3]
        assert [row["effect"] for row in case.helpful] == helpful


@pytest.mark.long
def test_shared_properties_of_harmful_rows_are_reported(world):
    """Where all harm comes from one rare source, the page says so."""
    rows = tiny.rows_of(world / "train.csv")
    data = audited(world)
    worst = set(data.harm.sort("harm", descending=True)["train"].head(12).to_list())
    rows = [row | {"source": "bad" if i in worst else "good"} for i, row in enumerate(rows)]
    tiny.write_rows(world / "train.csv", rows)
    train = {**tiny.SECTIONS["train"], "groups": ["source"]}
    data = audited(world, train=train, candidates={"kind": "full"})
    notes = [
        str(cause)
        for case in make_query_cases(data, find_duplicates(data, make_tfidf_space(data)))
        for cause in case.causes
    ]
    assert any("source bad (20% of all rows do)" in note for note in notes)


def test_causes_are_counted_over_queries(data):
    """Against a count of the causes by hand; with labels alone, so that each query has one."""
    cases = make_query_cases(data, find_duplicates(data, make_tfidf_space(data)))
    labels = dict(data.train.select("train", "label").iter_rows())
    expected: Counter[str] = Counter()
    for case in cases:
        query = data.scores.filter(pl.col("query") == case.query["query"]).sort("rank")
        worst = query.filter(pl.col("removal_effect") < 0).head(10)["train"]
        if len(worst) == 10:
            label, count = Counter(labels[row] for row in worst).most_common(1)[0]
            share = data.train["label"].eq(label).mean()
            if (
                sum(comb(10, k) * share**k * (1 - share) ** (10 - k) for k in range(count, 11))
                < 0.01
            ):
                expected[f"label {label}"] += 1
    counts = count_causes([case.causes for case in cases])
    assert {each.name: each.queries for each in counts if each.base is not None} == expected
    assert [each.queries for each in counts] == sorted(
        (each.queries for each in counts), reverse=True
    )


def test_near_duplicates_are_a_cause_even_if_most_rows_are_none(data):
    duplicates = find_duplicates(data, make_tfidf_space(data))
    train = [{"train": t, "label": "neg", data.source_column: "neg"} for t in range(10)]
    cluster = duplicates.cluster.copy()
    cluster[:10] = -1
    assert not [
        c for c in find_causes(data, replace(duplicates, cluster=cluster), train) if not c.base
    ]
    cluster[[2, 5, 7]] = 2
    causes = list(find_causes(data, replace(duplicates, cluster=cluster), train))
    assert str(causes[-1]) == "3 of the 10 most harmful rows are near-duplicates"
    assert list(find_causes(data, duplicates, train[:9])) == []
