"""Labels are flipped on purpose, and how many of these a ranking has first."""

import pytest
import torch

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views
from fastif.mislabels.injected_flips import inject_flips, measure_flip_recall
from fastif.mislabels.labeled_data import LabeledData
from tests.fastif.mislabels.noisy_clouds import make_rows


def test_canaries_leave_the_labels_alone_and_differ_from_them():
    rows, _ = make_rows(0.1)
    label_posterior = MislabelDetector()(rows)
    before = rows.labels.clone()
    planted = inject_flips(rows, label_posterior.posterior, 0.2, seed=3)
    assert torch.equal(rows.labels, before)
    assert len(planted.rows) == 60
    assert (planted.labels[planted.rows] != before[planted.rows]).all()
    away = torch.ones(300, dtype=torch.bool)
    away[planted.rows] = False
    assert torch.equal(planted.labels[away], before[away])


@pytest.mark.parametrize("budget", [60, 10, 3])
def test_a_perfect_order_has_a_recall_of_one_whatever_the_budget(budget):
    """Fifteen labels are wrong and separable: more than the smaller budgets hold."""
    rows, truth = make_rows(0.05, apart=9.0)
    label_posterior = MislabelDetector()(rows)
    wrong = rows.labels != truth
    assert label_posterior.probability[wrong].min() > label_posterior.probability[~wrong].max()
    recall = measure_flip_recall(MislabelDetector(), rows, label_posterior, budget)
    assert recall.budget <= budget
    assert (recall.any, recall.confusable) == (1.0, 1.0)


@pytest.mark.parametrize("budget", [20, 300])
def test_an_order_by_chance_has_a_low_recall_also_where_the_budget_holds_all_rows(budget):
    """Features say nothing: of the flips about as many come first as rows do."""
    generator = torch.Generator().manual_seed(4)
    rows = LabeledData(
        concat_views([torch.randn(300, 4, generator=generator)]), torch.arange(300) % 3, 3
    )
    recall = measure_flip_recall(MislabelDetector(), rows, MislabelDetector()(rows), budget)
    assert recall.any < 0.5
    assert recall.confusable < 0.5
