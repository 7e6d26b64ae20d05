"""Influences and attributions as tables, data frames and figures."""

import sys

import polars as pl
import pytest
import torch

import fastif
from fastif import Influences, InputError
from fastif.attribution.influence import NO_EXAMPLE

IDS = torch.tensor([[4, 0, 2], [1, 3, NO_EXAMPLE]])
EFFECTS = torch.tensor([[-0.5, 0.0, 0.25], [-1.5, 2.0, torch.inf]])
TEXTS = ["zero", "one", "<b>two</b>", "three", "four\n"]


@pytest.fixture
def influences():
    return Influences(IDS, EFFECTS)


@pytest.fixture
def attribution():
    torch.manual_seed(0)
    train = fastif.TensorExamples(torch.randn(20, 3), torch.arange(20) % 2)
    objective = fastif.ModuleObjective(torch.nn.Linear(3, 2), fastif.CrossEntropy())
    operator = fastif.GaussNewton(objective, train).with_damping(0.1)
    return fastif.Attributor(objective, train, operator, fastif.Dual())(train, torch.arange(4))


def test_a_data_frame_has_a_row_for_each_scored_pair(influences):
    frame = influences.with_texts(TEXTS, ["a", "b"]).to_polars()
    assert frame.rows() == [
        (0, 4, 0, -0.5, "four\n", "a"),
        (0, 0, 1, 0.0, "zero", "a"),
        (0, 2, 2, 0.25, "<b>two</b>", "a"),
        (1, 1, 0, -1.5, "one", "b"),
        (1, 3, 1, 2.0, "three", "b"),
    ]
    assert frame.columns == ["query", "train", "rank", "removal_effect", "train_text", "query_text"]
    assert influences.to_polars().columns == ["query", "train", "rank", "removal_effect"]


def test_pandas_has_the_same_rows_and_is_refused_by_name_if_missing(influences, monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = influences.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["removal_effect"].tolist() == influences.to_polars()["removal_effect"].to_list()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"package pandas.*pip install pandas"):
        influences.to_pandas()


def test_the_display_has_effects_with_ids_and_escaped_texts(influences):
    page = influences._repr_html_()
    assert "-0.5</td>" in page
    assert "inf" not in page
    page = influences.with_texts(TEXTS, ["<script>", "b"])._repr_html_()
    assert "&lt;b&gt;two&lt;/b&gt;" in page
    assert "query 0: &lt;script&gt;" in page
    assert "<b>two" not in page
    assert "<script>" not in page


def test_long_tables_show_the_ends_of_the_first_queries():
    ids = torch.arange(40).expand(25, 40)
    page = Influences(ids, (torch.arange(40.0) - 20).expand(25, 40))._repr_html_()
    assert "15 more queries" in page
    assert page.count("<tr>") == 10 * (1 + 10)
    assert "+19</td>" in page
    assert "+0</td>" not in page


def test_spread_and_ranking_scores_are_columns_if_there_are_any():
    ranked = Influences(IDS[:1], EFFECTS[:1], None, EFFECTS[:1] + 1, EFFECTS[:1] + 2)
    frame = ranked.to_polars()
    assert frame.select("spread", "ranking_score").rows() == [(0.5, 1.5), (1.0, 2.0), (1.25, 2.25)]


def test_an_attribution_has_the_rows_of_its_influences(attribution):
    assert attribution.to_polars().equals(attribution.influences.to_polars())
    assert "4 of 4 queries converged" in attribution._repr_html_()
    frame = attribution.to_polars()
    assert frame.height == 4 * 20
    by_hand = attribution.influences.removal_effect[1][attribution.influences.ids[1] == 7]
    cell = frame.filter(pl.col("query") == 1, pl.col("train") == 7)["removal_effect"][0]
    assert cell == pytest.approx(float(by_hand))


def test_a_figure_has_the_strongest_effects_with_their_colours(influences, attribution):
    chart = influences.with_texts(TEXTS).plot().to_dict()
    values = chart["data"]["values"]
    assert [(v["train"], v["effect"]) for v in values] == [
        ("4", -0.5),
        ("0", 0.0),
        ("2", 0.25),
        ("1", -1.5),
        ("3", 2.0),
    ]
    assert attribution.plot().to_dict()["facet"]["field"] == "query"
    with pytest.raises(InputError, match="a query with effects"):
        influences.select_queries(torch.tensor([False, False])).plot()


def test_texts_of_other_examples_are_refused(influences):
    with pytest.raises(InputError, match="train: expected 5 texts or more; got 4"):
        influences.with_texts(TEXTS[:4])
    with pytest.raises(InputError, match="queries: expected 2 texts; got 1"):
        influences.with_texts(TEXTS, ["a"])
