"""Metrics of the experiments against explicit sums or another library."""

from math import atan2
from xml.etree import ElementTree

import pytest
import torch
from scipy.stats import pearsonr, spearmanr, ttest_1samp
from sklearn.metrics import average_precision_score

from tasks.experiments.amazon_correction import STRATEGIES as REVIEWS
from tasks.experiments.amazon_correction import TABLES as REVIEWED
from tasks.experiments.hans_correction import STRATEGIES, TABLES
from tasks.experiments.influence_graph import _WrongPredictions
from tasks.experiments.knn_recall import _recall_at_k
from tasks.experiments.label_noise import _average_precision, _list_recalls, _recall_in_first
from tasks.experiments.layerwise import _compare_with_whole
from tasks.experiments.radial_plot import SIDE, render_radial_plot
from tasks.experiments.removal_retraining import _compare_with_random, _select_removals
from tasks.experiments.repeated_corrections import (
    RepeatedCorrections,
    Strategy,
    compare_gains,
    format_interval,
)
from tasks.experiments.runtime import _estimate_ours
from tasks.results.palette import HARMFUL, HELPFUL


def sample_normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_average_precision_is_that_of_scikit_learn():
    score, wrong = sample_normal(200), sample_normal(200, seed=1) > 1
    expected = average_precision_score(wrong.numpy(), score.numpy())
    assert _average_precision(score, wrong) == pytest.approx(expected, rel=1e-6)
    best = score.argsort(descending=True)[:20]
    assert _recall_in_first(score, wrong, 0.1) == float(wrong[best].sum() / wrong.sum())


def test_a_perfect_order_has_all_that_is_reachable():
    """Twenty wrong of 100: five rows hold at most a quarter of them."""
    wrong = torch.arange(100) < 20
    recalls = _list_recalls(wrong.double(), wrong)
    assert recalls["found in the first 5%"] == 0.25
    assert recalls["of the reachable in the first 5%"] == 1
    assert "of the reachable in the first 20%" not in recalls


@pytest.mark.parametrize("kind", ["helpful", "harmful", "unsigned"])
@pytest.mark.parametrize("both", [False, True])
def test_recall_counts_the_true_ones_among_the_candidates(kind, both):
    scores, exact = sample_normal(5, 40), sample_normal(5, 40, seed=1)
    shares = []
    for query in range(5):
        order = sorted(range(40), key=lambda i, q=query: -float(scores[q, i]))
        picked = {*order[:5], *order[-5:]} if both else {*order[:10]}
        size = {"helpful": exact, "harmful": -exact, "unsigned": exact.abs()}[kind][query]
        true = sorted(range(40), key=lambda i, s=size: -float(s[i]))[:4]
        shares.append(len(picked & {*true}) / 4)
    assert _recall_at_k(scores, exact, 0.25, 4, kind, both) == pytest.approx(sum(shares) / 5)


def test_all_rows_as_candidates_miss_nothing():
    scores, exact = sample_normal(3, 30), sample_normal(3, 30, seed=1)
    assert _recall_at_k(scores, exact, 1.0, 10, "unsigned", is_two_sided=True) == 1


def test_harmful_rows_are_those_of_the_most_negative_effect():
    effects = torch.tensor([[0.3, -0.5, 0.1, -0.2, 0.0]])
    removed = {
        kind: rows.tolist() for _, kind, rows in _select_removals({"exact": effects}, 0, 2, 7)
    }
    assert removed["harmful"] == [1, 3]
    assert set(removed["helpful"]) == {0, 2}
    assert len(set(removed["any"])) == 2


def test_intervals_are_those_of_student():
    first, other = sample_normal(8).tolist(), sample_normal(8, seed=1).tolist()
    gaps = [a - b for a, b in zip(first, other, strict=True)]
    low, high = ttest_1samp(gaps, 0).confidence_interval(0.95)
    words, *ends = _compare_with_random(first, other)
    assert ends == pytest.approx([low, high])
    assert f"{sum(gaps) / 8:+.4f} nats" in words
    assert format_interval(gaps) == f"{100 * low:+.1f} to {100 * high:+.1f}"
    assert compare_gains(first, other)[1] == pytest.approx(low)


def make_visualisation(effects, near, slices, kinds):
    """Return the effects of `visualisation` without a model."""
    made = _WrongPredictions.__new__(_WrongPredictions)
    made.effects, made.is_near, made.slices, made.kinds = effects, near, slices, kinds
    return made


def test_tables_of_slices_are_sums_over_their_pairs():
    effects = sample_normal(6, 30)
    near = sample_normal(6, 30, seed=1) > 0
    slices = ["HANS (L)"] * 2 + ["HANS (S)"] * 2 + ["MultiNLI"] * 2
    kinds = ["HANS (L)"] * 10 + ["HANS (S)"] * 20
    made = make_visualisation(effects, near, slices, kinds)
    pairs = [float(effects[q, i]) for q in (2, 3) for i in range(30) if near[q, i]]
    row = next(r for r in made.compare_sizes() if r["slice"] == "HANS (S)")
    helps = [e for e in pairs if e > 0]
    assert row["helpful, share"] == pytest.approx(len(helps) / len(pairs))
    assert row["helpful, mean size"] == pytest.approx(sum(helps) / len(helps))
    both, means = [], {0: [], 4: []}
    for i in range(30):
        if all(any(near[q, i] for q in (a, a + 1)) for a in means):
            both.append(i)
            for a, values in means.items():
                some = [float(effects[q, i]) for q in (a, a + 1) if near[q, i]]
                values.append(sum(some) / len(some))
    row = next(
        r for r in made.correlate_slices() if (r["one"], r["other"]) == ("HANS (L)", "MultiNLI")
    )
    assert row["rows near to both"] == len(both)
    assert row["correlation"] == pytest.approx(pearsonr(means[0], means[4])[0], rel=1e-6)
    kind = next(r for r in made.compare_kinds() if r["queries"] == "MultiNLI")
    assert kind["HANS (S)"] == pytest.approx(float(effects[4:, 10:].abs().mean()))


def test_the_radial_plot_puts_rows_in_the_direction_of_their_queries():
    effects = torch.zeros(4, 3)
    effects[1, 0], effects[3, 2] = 1.0, -2.0
    drawing = ElementTree.fromstring(render_radial_plot(effects, ["a", "a", "b", "b"], ["x"] * 3))
    strong = [e for e in drawing if e.tag.endswith("line") and e.attrib["stroke-opacity"] > "0.5"]
    lines = [line.attrib for line in strong]
    assert {line["stroke"] for line in lines} == {HELPFUL.light, HARMFUL.light}
    for line in lines:  # a row that acts on one query lies in the direction of this query
        x, y, u, v = (float(line[key]) - SIDE / 2 for key in ("x1", "y1", "x2", "y2"))
        assert atan2(y, x) == pytest.approx(atan2(v, u), abs=0.01)


def test_effects_of_layers_add_up_to_the_whole():
    first, other = sample_normal(3, 80), sample_normal(3, 80, seed=1)
    whole = first + other
    rows = [_compare_with_whole("a", 1, part, whole) for part in (first, other)]
    assert sum(row["share of the effects"] for row in rows) == pytest.approx(1)
    expected = [spearmanr(a, b)[0] for a, b in zip(first.numpy(), whole.numpy(), strict=True)]
    assert rows[0]["Spearman with the whole"] == pytest.approx(sum(expected) / 3, abs=1e-5)
    assert _compare_with_whole("a", 1, whole, whole)["share of the top 50"] == 1


def test_minutes_are_composed_of_timed_parts():
    mean = {"scan": 3.0, "sketches, rows": 12.0, "sketches, query": 0.25}
    mean |= {"EK-FAC, rows": 5.0, "EK-FAC, factors": 2.0, "EK-FAC, queries": 1.0}
    own = {name: seconds for name, seconds, _ in _estimate_ours(mean, 392_702 // 2)}
    assert own["Scan of all rows, after the solves"] == pytest.approx(6 / 64)
    assert own["EK-FAC and scan"] == pytest.approx((10 + 2 + 1 + 6) / 64)
    assert own["EK-FAC fitted before, and scan"] == pytest.approx((1 + 6) / 64)
    assert own["Sketches"] == pytest.approx(24 / 64 + 0.25)


def test_strategies_have_distinct_names():
    ways = [*STRATEGIES, *REVIEWS]
    assert len({way.step_name(0) for way in STRATEGIES}) == len(STRATEGIES)
    assert Strategy("train", "helpful").step_name(2) == "train-helpful-2"
    assert Strategy("train", "helpful", 1e-3).step_name(2) == "train-helpful-0.001-2"
    taken = {ways[0]: [["a", "b", "c"], ["a", "c"]]}
    repairs = RepeatedCorrections(
        0.5, {way: [0.01, 0.03] for way in ways}, {**TABLES, **REVIEWED}, taken
    )
    assert repairs.mean_majority_share(ways[0], {"a": "x", "b": "y", "c": "x"}) == pytest.approx(
        (2 / 3 + 1) / 2
    )
    row = next(r for r in repairs.make_rows() if r["by"] == "anchors")
    assert row["from"] == "the failure set"
    assert row["gain, points"] == pytest.approx(2)
