"""What experiments count by, against sums written out or another library's."""

import pytest
import torch
from scipy.stats import ttest_1samp
from sklearn.metrics import average_precision_score

from tasks.experiments.correction import _interval, _over
from tasks.experiments.labels import _found as found_first
from tasks.experiments.labels import _precision
from tasks.experiments.recall import _found
from tasks.experiments.removal import _against, _removed


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_average_precision_is_that_of_scikit_learn():
    score, wrong = drawn(200), drawn(200, seed=1) > 1
    expected = average_precision_score(wrong.numpy(), score.numpy())
    assert _precision(score, wrong) == pytest.approx(expected, rel=1e-6)
    best = score.argsort(descending=True)[:20]
    assert found_first(score, wrong, 0.1) == float(wrong[best].sum() / wrong.sum())


@pytest.mark.parametrize("kind", ["helpful", "harmful", "unsigned"])
@pytest.mark.parametrize("both", [False, True])
def test_recall_counts_the_true_ones_among_the_candidates(kind, both):
    scores, exact = drawn(5, 40), drawn(5, 40, seed=1)
    shares = []
    for query in range(5):
        order = sorted(range(40), key=lambda i, q=query: -float(scores[q, i]))
        picked = {*order[:5], *order[-5:]} if both else {*order[:10]}
        size = {"helpful": exact, "harmful": -exact, "unsigned": exact.abs()}[kind][query]
        true = sorted(range(40), key=lambda i, s=size: -float(s[i]))[:4]
        shares.append(len(picked & {*true}) / 4)
    assert _found(scores, exact, 0.25, 4, kind, both) == pytest.approx(sum(shares) / 5)


def test_all_rows_as_candidates_miss_nothing():
    scores, exact = drawn(3, 30), drawn(3, 30, seed=1)
    assert _found(scores, exact, 1.0, 10, "unsigned", both=True) == 1


def test_harmful_rows_are_those_of_the_most_negative_effect():
    effects = torch.tensor([[0.3, -0.5, 0.1, -0.2, 0.0]])
    removed = {kind: rows.tolist() for _, kind, rows in _removed({"exact": effects}, 0, 2, 7)}
    assert removed["harmful"] == [1, 3]
    assert set(removed["helpful"]) == {0, 2}
    assert len(set(removed["any"])) == 2


def test_intervals_are_students():
    one, other = drawn(8).tolist(), drawn(8, seed=1).tolist()
    gaps = [a - b for a, b in zip(one, other, strict=True)]
    low, high = ttest_1samp(gaps, 0).confidence_interval(0.95)
    words, *ends = _against(one, other)
    assert ends == pytest.approx([low, high])
    assert f"{sum(gaps) / 8:+.4f} nats" in words
    assert _interval(gaps) == f"{100 * low:+.1f} to {100 * high:+.1f}"
    assert _over(one, other)[1] == pytest.approx(low)
