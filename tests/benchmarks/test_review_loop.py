"""Numbers of the review loop: verdicts needed, intervals, orders and corrected rows."""

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks.review_loop.curve import compare_orders, count_needed, summarize_curves
from benchmarks.review_loop.evidence import (
    ONCE,
    PAGE,
    compare_hits,
    count_corrected,
    count_rounds,
    order_rows,
)
from benchmarks.review_loop.journal import Journal
from benchmarks.review_loop.orders import SCORES, order_by_cleanlab
from benchmarks.review_loop.retraining import DROPPED, GIVEN, RIGHT, HeadTrainer
from benchmarks.review_loop.study import CLEAN, News, read_news, write_study


def make_news(given, truth):
    ids = [f"row-{place}" for place in range(len(given))]
    return News(ids, ids, torch.tensor(given), torch.tensor(truth), torch.tensor([0]))


@pytest.fixture
def data(tmp_path):
    """Data set of six annotated rows, two of them wrong, and four test rows."""
    folder = tmp_path / "noisy_ag_news"
    folder.mkdir()
    truth = ["World", "Sports", "Business", "Sci/Tech", "World", "Sports"]
    given = [*truth[:4], "Sports", "World"]
    columns = {"id": [f"a-{i}" for i in range(6)], "text": [f"text {i}" for i in range(6)]}
    rows = pl.DataFrame(columns | {"label": given, "label_clean": truth})
    rows.write_parquet(folder / "annotated.parquet")
    rows.head(4).write_parquet(folder / "test.parquet")
    return tmp_path


def test_the_right_labels_are_not_in_the_tables_of_the_study(data, tmp_path):
    write_study(tmp_path / "study", data, rows=5, queries=2)
    assert pl.read_parquet(tmp_path / "study/train.parquet").columns == ["id", "text", "label"]
    assert len(pl.read_parquet(tmp_path / "study/queries.parquet")) == 2
    news = read_news(data, rows=5, queries=2, tested=9)
    assert news.wrong.tolist() == [False] * 4 + [True]
    queries = pl.read_parquet(tmp_path / "study/queries.parquet")["text"].to_list()
    assert set(news.texts[5:]) == {f"text {i}" for i in range(4)} - set(queries)


def test_the_verdicts_needed_are_interpolated_at_the_first_crossing():
    counts = np.array([0, 100, 300])
    curves = np.array([[0.5, 0.7, 0.9], [0.9, 0.7, 0.9], [0.5, 0.9, 0.6], [0.5, 0.6, 0.7]])
    needed = count_needed(counts, curves, np.full(4, 0.8))
    assert needed.tolist() == pytest.approx([200, 0, 75, np.inf])


def test_the_interval_of_a_gain_is_that_of_paired_rows():
    generator = torch.Generator().manual_seed(0)
    n = 4000
    start = (torch.rand(n, generator=generator) < 0.6).float()
    repaired = (torch.rand(n, generator=generator) < 0.1) & (start == 0)
    better = (start + repaired).clamp(max=1)
    curves = summarize_curves({GIVEN: start, DROPPED: better}, {"a": {100: better}}, GIVEN, DROPPED)
    entry = curves["orders"]["a"]["accuracy"]["100"]
    share = float(repaired.float().mean())
    error = (share * (1 - share) / n) ** 0.5  # each row gains one or nothing
    assert entry["gain"]["value"] == pytest.approx(share, abs=1e-6)
    assert entry["gain"]["high"] - entry["gain"]["low"] == pytest.approx(3.92 * error, rel=0.1)
    needed = curves["orders"]["a"]["needed"]
    assert [needed[key] for key in ("value", "low", "high")] == [100, 100, 100]


def test_orders_are_compared_after_equally_many_verdicts():
    better, worse = torch.tensor([1.0] * 80 + [0.0] * 20), torch.tensor([1.0] * 70 + [0.0] * 30)
    orders = {"page": {100: worse, 300: better}, "other": {300: worse}, "short": {100: worse}}
    leads = compare_orders(orders, "page", 300)
    assert list(leads) == ["other"]
    assert leads["other"]["value"] == pytest.approx(0.1)
    assert leads["other"]["low"] == pytest.approx(0.1 - 1.96 * 0.03, abs=0.01)


def test_a_goal_out_of_reach_needs_no_number():
    start = torch.zeros(50)
    curves = summarize_curves(
        {GIVEN: start, DROPPED: start + 1}, {"a": {100: start}}, GIVEN, DROPPED
    )
    assert curves["orders"]["a"]["needed"] == {"value": None, "low": None, "high": None}


def test_the_order_of_the_page_is_the_decisions_then_the_last_search():
    news = make_news([0, 1, 0, 1], [0, 0, 0, 1])
    loop = {
        "decisions": [{"id": "row-1"}, {"id": "row-3"}],
        "orders": {
            "first search": ["row-1", "row-0", "row-3", "row-2"],
            "last search": ["row-2", "row-3", "row-0"],
        },
    }
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    orders = order_rows(loop, news, features, folds=2)
    assert orders[PAGE].tolist() == [1, 3, 2, 0]
    assert orders[ONCE].tolist() == [1, 0, 3, 2]
    assert sorted(orders["random"].tolist()) == [0, 1, 2, 3]
    rounds = count_rounds(loop, news, 2)
    assert rounds == [{"decisions": 1, "wrong": 1}, {"decisions": 1, "wrong": 0}]


def test_corrected_rows_are_compared_by_id(tmp_path):
    news = make_news([0, 1, 0, 1], [0, 0, 1, 1])
    clean = {"id": ["row-3", "row-1", "row-2"], "label": ["Sci/Tech", "Business", "Business"]}
    pl.DataFrame(clean).write_parquet(tmp_path / CLEAN)
    assert count_corrected(tmp_path, news) == {"rows": 3, "changed": 1, "wrong": 1}


def test_two_models_are_compared_on_the_same_rows():
    before, after = torch.tensor([1.0, 0, 0, 1, 0]), torch.tensor([1.0, 1, 1, 0, 0])
    entry = compare_hits(before, after)
    assert (entry["broken"], entry["repaired"]) == (1, 2)
    assert (entry["before"], entry["after"]) == pytest.approx((0.4, 0.6))
    assert entry["p"] == pytest.approx(1.0)  # 3 of 2 or fewer of a fair coin, both sides
    assert entry["low"] < 0.2 < entry["high"]


def test_heads_are_trained_on_the_labels_of_an_order(tmp_path):
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(400) % 4
    features = 3 * torch.randn(4, 384, generator=generator)[truth]
    features += 0.1 * torch.randn(features.shape, generator=generator)
    given = truth.clone()
    given[150:300] = (given[150:300] + 1) % 4  # half of the rows have the next class
    ids = [f"{place}" for place in range(300)]
    news = News(ids, ids, given[:300], truth[:300], truth[300:])
    trainer = HeadTrainer(features, news, [0], tmp_path)
    shares = {name: float(hits.mean()) for name, hits in trainer.measure_baselines().items()}
    assert shares[DROPPED] > 0.9
    assert shares[RIGHT] > 0.9
    assert shares[GIVEN] < 0.9
    hits = trainer.measure_orders({"wrong first": torch.arange(299, -1, -1)})["wrong first"]
    assert list(hits) == [50, 100, 200, 300]
    assert torch.equal(hits[300], trainer.measure_baselines()[RIGHT])
    assert float(hits[200].mean()) > 0.9


def test_a_journal_repeats_no_finished_step(tmp_path):
    calls = []

    def work(value):
        calls.append(value)
        return {"value": value}

    first = Journal(tmp_path / "journal.json")
    assert first.run("a", lambda: work(1)) == {"value": 1}
    again = Journal(tmp_path / "journal.json")
    assert again.run("a", lambda: work(2)) == {"value": 1}
    assert again.run("b", lambda: work(3)) == {"value": 3}
    assert calls == [1, 3]


def test_cleanlab_puts_a_wrong_label_first():
    pytest.importorskip("cleanlab", reason="not in the test extra: pip install cleanlab")
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    features = torch.randn(200, 5, generator=generator) + 4 * labels[:, None]
    given = labels.clone()
    given[17] = 1 - given[17]
    orders = order_by_cleanlab(features, given)
    assert list(orders) == list(SCORES)
    assert all(order[0] == 17 for order in orders.values())
