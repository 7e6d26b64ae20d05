"""Trusted rows are used where they help, by simulated noise, and set aside elsewhere."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.nn.functional import one_hot

from fastif import InputError
from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views
from fastif.mislabels.labeled_data import LabeledData, TrustedData
from fastif.mislabels.noise_model import compute_posterior
from fastif.mislabels.trusted_comparison import (
    MAX_DOMAIN_AUC,
    TrustedComparison,
    _compare_domains,
    _rank_errors,
    _simulate_labels,
)
from fastif.mislabels.trusted_fit import TrustedFitter
from tests.fastif.mislabels.noisy_clouds import flip_labels, make_clouds

DETECTOR = MislabelDetector(repeats=1)
FITTER = TrustedFitter(DETECTOR.folds, DETECTOR.seed, DETECTOR.penalty, DETECTOR.fit)


def make_tables(n=300, m=60, shift=0.0, biased=False):
    """Rows with flipped labels, or with labels by one feature; and trusted rows, maybe shifted."""
    points, truth = make_clouds(n, 2, apart=3.0)
    others, known = make_clouds(m, 2, apart=3.0, seed=9)
    features = concat_views([torch.cat([points, others + shift])])
    labels = flip_labels(truth, 0.1, 2)
    if biased:
        labels = torch.where(points[:, 4] > 0.8, 0, truth)
    return LabeledData(features[:n], labels, 2), TrustedData(features[n:], known, 2)


@pytest.mark.long
def test_rows_of_another_domain_are_set_aside():
    rows, trusted = make_tables(shift=torch.tensor([0.0] * 6 + [8.0] * 2))
    with_trusted, alone = DETECTOR(rows, trusted), DETECTOR(rows)
    assert with_trusted.comparison.domain_auc > MAX_DOMAIN_AUC
    assert not with_trusted.trusted
    assert torch.equal(with_trusted.probability, alone.probability)


@pytest.mark.long
def test_rows_that_add_nothing_are_set_aside():
    rows, trusted = make_tables(m=12)
    with_trusted = DETECTOR(rows, trusted)
    assert with_trusted.comparison.domain_auc < MAX_DOMAIN_AUC
    assert not with_trusted.trusted
    assert torch.equal(with_trusted.probability, DETECTOR(rows).probability)


@pytest.mark.long
def test_rows_that_reveal_a_rule_of_the_annotators_are_used():
    rows, trusted = make_tables(600, 200, biased=True)
    _, truth = make_clouds(600, 2, apart=3.0)
    with_trusted, alone = DETECTOR(rows, trusted), DETECTOR(rows)
    assert with_trusted.trusted, with_trusted.comparison
    wrong = (rows.labels != truth).numpy()
    better, before = (
        average_precision_score(wrong, each.probability.numpy()) for each in (with_trusted, alone)
    )
    assert better > before + 0.05


def test_held_out_probabilities_do_not_know_the_labels():
    """Random trusted labels are predicted by chance: nothing of them leaks through the table.

    Pseudo-labels of the table by a head of all trusted rows would give 0.79 in the mean here. The
    weights of the stacking are fitted to the trusted labels, so that it is somewhat above 0.5.
    """
    accuracies = []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(460, 150, generator=generator)
        labels = torch.randint(2, (60,), generator=generator)
        rows = LabeledData(features[:400], (features[:400, 0] > 0).long(), 2)
        held_out = FITTER(rows, TrustedData(features[400:], labels, 2)).held_out
        accuracies.append(float((held_out.argmax(1) == labels).float().mean()))
    assert sum(accuracies) / len(accuracies) < 0.68
    rows, trusted = make_tables(m=100)
    assert float((FITTER(rows, trusted).held_out.argmax(1) == trusted.labels).float().mean()) > 0.9


def test_duplicates_of_trusted_rows_share_a_fold():
    """Copies of rows with random labels would be predicted by their twins."""
    generator = torch.Generator().manual_seed(2)
    points, truth = make_clouds(100, 2, apart=3.0)
    features = torch.cat([points, torch.randn(100, 40, generator=generator)], 1)
    rows = LabeledData(features, truth, 2)
    noise = torch.randn(30, 48, generator=generator)
    labels = torch.randint(2, (30,), generator=generator)
    twice = TrustedData(noise.repeat(2, 1), labels.repeat(2), 2, groups=torch.arange(30).repeat(2))
    accuracies = [
        float((FITTER(rows, each).held_out.argmax(1) == twice.labels).float().mean())
        for each in (twice, replace(twice, groups=None))
    ]
    assert accuracies[0] < 0.75 < accuracies[1]


def test_measures_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(3, (80,), generator=generator)
    transition = torch.full((3, 3), 0.1).fill_diagonal_(0.8)
    p = torch.rand(80, 3, generator=generator).softmax(1)
    (given, *_) = _simulate_labels(labels, transition)
    error = 1 - compute_posterior(p, given, transition).gather(1, given[:, None])[:, 0]
    expected = average_precision_score((given != labels).numpy(), error.numpy())
    assert _rank_errors(labels, given, p, transition) == pytest.approx(expected, abs=1e-6)
    rows, trusted = make_tables(shift=0.3)
    fitter = CrossFitter(5, 1, 1e-3, 0)
    features = torch.cat([rows.features, trusted.features])
    is_trusted = (torch.arange(len(features)) >= len(rows.labels)).long()
    logits = fitter(LabeledData(features, is_trusted, 2), one_hot(is_trusted, 2).float())
    expected = roc_auc_score(is_trusted.numpy(), (logits[:, 1] - logits[:, 0]).numpy())
    assert _compare_domains(rows, trusted, fitter) == pytest.approx(expected, abs=1e-6)


def test_without_simulated_errors_nothing_is_measured():
    assert _simulate_labels(torch.tensor([0, 1, 0]), torch.eye(2)) == []
    assert not TrustedComparison(0.5, None, None, 0.9, 0.9).is_better
    assert TrustedComparison(0.5, 0.3, 0.4, 0.9, 0.9).is_better
    assert not TrustedComparison(0.5, 0.3, 0.32, 0.9, 0.9).is_better


def test_duplicates_of_one_trusted_row_are_refused():
    features, labels = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])
    with pytest.raises(InputError, match="duplicates of one row, 4 times"):
        TrustedData(features, labels, 2, groups=torch.zeros(4, dtype=torch.long))
