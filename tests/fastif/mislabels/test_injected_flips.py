"""Injected label flips, and the recall of a ranking on them."""

import math
from itertools import permutations

import pytest
import torch

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views
from fastif.mislabels.injected_flips import (
    compute_reachable_share,
    inject_flips,
    measure_flip_recall,
)
from fastif.mislabels.labeled_data import LabeledData
from tests.fastif.mislabels.noisy_clouds import make_rows


@pytest.mark.long
def test_injected_flips_change_a_copy_and_every_sampled_label():
    rows, _ = make_rows(0.1)
    label_posterior = MislabelDetector()(rows)
    before = rows.labels.clone()
    flips = inject_flips(rows, label_posterior.posterior, 0.2, seed=3)
    assert torch.equal(rows.labels, before)
    assert len(flips.rows) == 60
    assert (flips.labels[flips.rows] != before[flips.rows]).all()
    away = torch.ones(300, dtype=torch.bool)
    away[flips.rows] = False
    assert torch.equal(flips.labels[away], before[away])


@pytest.mark.long
@pytest.mark.parametrize("budget", [60, 10, 3])
def test_a_perfect_ranking_has_recall_one_for_every_budget(budget):
    """Fifteen labels are wrong and separable: more than the smaller budgets hold."""
    rows, truth = make_rows(0.05, apart=9.0)
    label_posterior = MislabelDetector()(rows)
    wrong = rows.labels != truth
    assert label_posterior.probability[wrong].min() > label_posterior.probability[~wrong].max()
    recall = measure_flip_recall(MislabelDetector(), rows, label_posterior, budget)
    assert recall.budget <= budget
    assert (recall.any, recall.confusable, recall.reachable) == (1.0, 1.0, 1.0)


@pytest.mark.long
@pytest.mark.parametrize("budget", [20, 300])
def test_a_random_ranking_has_low_recall_even_with_a_budget_of_all_rows(budget):
    """Random features: flips have the top ranks at the base rate."""
    generator = torch.Generator().manual_seed(4)
    rows = LabeledData(
        concat_views([torch.randn(300, 4, generator=generator)]), torch.arange(300) % 3, 3
    )
    recall = measure_flip_recall(MislabelDetector(), rows, MislabelDetector()(rows), budget)
    assert recall.any < 0.5
    assert recall.confusable < 0.5


@pytest.mark.parametrize("flips", [1, 2, 3, 5])
@pytest.mark.parametrize("inspected", [1, 2, 4, 6])
def test_the_reachable_share_is_the_largest_recall_of_all_orders(flips, inspected):
    """Brute force over all orders of six rows, of which the first ones are flipped."""
    recalls = {
        sum(row < flips for row in order[:inspected]) / flips for order in permutations(range(6))
    }
    assert compute_reachable_share(flips, inspected) == max(recalls)


def test_there_is_no_reachable_share_without_flips():
    assert math.isnan(compute_reachable_share(0, 5))
