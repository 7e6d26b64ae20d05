"""Recall against sets counted by hand, and its interval against the binomial distribution."""

import pytest
import torch
from scipy.stats import binomtest

from fastif.candidates.recall import recall, wilson
from fastif.influence import UNSEEN, Influences


def _scan(rows):
    """A full scan of these effects, most harmful first."""
    effects = torch.tensor(rows)
    order = effects.argsort(1)
    return Influences(order, effects.gather(1, order))


def test_shares_are_those_counted_by_hand():
    scanned = _scan([[0.1, -5.0, 3.0, 0.2, -0.3], [4.0, 0.0, 0.1, -2.0, 1.0]])
    # The largest three by size: 1, 2, 4 of the first query, 0, 3, 4 of the second.
    found = [torch.tensor([1, 0, 3]), torch.tensor([0, 3, 4, 1])]
    two, three = recall(found, scanned, at=(2, 3))
    assert (two.at, two.queries, two.share) == (2, 2, pytest.approx((1 / 2 + 1) / 2))
    assert three.share == pytest.approx((1 / 3 + 1) / 2)
    assert three.low < three.share < three.high


def test_more_than_there_are_is_all_and_a_row_without_a_score_is_no_miss():
    scanned = _scan([[1.0, -2.0, 0.5]])
    (one,) = recall([torch.tensor([0, 1, 2])], scanned, at=(10, 100))
    assert (one.at, one.share) == (3, 1.0)
    ids = torch.tensor([[1, 0, UNSEEN]])
    broken = Influences(ids, torch.tensor([[-2.0, 1.0, torch.inf]]))
    (one,) = recall([torch.tensor([0, 1])], broken, at=(2,))
    assert one.share == 1.0


@pytest.mark.parametrize(("hits", "count"), [(0, 8), (8, 8), (3, 8), (17, 40)])
def test_the_interval_is_wilsons(hits, count):
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-4)
