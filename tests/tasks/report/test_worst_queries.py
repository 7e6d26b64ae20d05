"""The worst queries, their most harmful and helpful rows, and shared properties of these."""

import polars as pl
import tiny
from audited_runs import audited

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
        note
        for case in make_query_cases(data, find_duplicates(data, make_tfidf_space(data)))
        for note in case.shared_properties
    ]
    assert any("source bad (20% of all rows do)" in note for note in notes)
