"""The test of whether features predict the labels at all: its level, its power, duplicates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch.nn.functional import one_hot

from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.external_classifier import ExternalClassifier
from fastif.mislabels.labeled_data import LabeledData, TrustedData
from fastif.mislabels.naive_bayes import NaiveBayes
from fastif.mislabels.posterior_summary import has_information
from fastif.mislabels.pseudo_r2 import (
    calibrated_pseudo_r2,
    compute_entropy,
    exceeds_chance,
    measure_skill,
)
from tests.fastif.mislabels.noisy_clouds import make_rows


def draw_chance(seed, n=200, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    return torch.randn(n, classes, generator=generator), labels


def exceeds(logits, labels, rows=None):
    r_squared = calibrated_pseudo_r2(logits, labels)
    shares = np.bincount(labels.numpy()) / len(labels)
    entropy = float(-(shares * np.log(shares)).sum())
    assert compute_entropy(labels) == pytest.approx(entropy)
    return exceeds_chance(r_squared, entropy, rows or len(labels), logits.shape[1])


@pytest.mark.long
def test_random_logits_rarely_exceed_chance():
    """300 samples at the 1 % level: more than nine have a probability below 0.002."""
    assert sum(exceeds(*draw_chance(seed)) for seed in range(300)) <= 9


def test_weak_information_exceeds_chance():
    logits, labels = draw_chance(0, n=400)
    assert not exceeds(logits, labels)
    logits[torch.arange(400), labels] += 0.6
    assert exceeds(logits, labels)


def test_duplicates_count_once():
    """Twenty copies of forty random rows are forty rows."""
    copies = [
        (logits.repeat(20, 1), labels.repeat(20))
        for logits, labels in (draw_chance(seed, n=40) for seed in range(10))
    ]
    assert sum(exceeds(*pair) for pair in copies) >= 2
    assert not any(exceeds(*pair, rows=40) for pair in copies)


@pytest.mark.long
@pytest.mark.parametrize(
    ("n", "columns", "classes"), [(60, 20, 2), pytest.param(120, 40, 4, marks=pytest.mark.long)]
)
def test_cross_fitted_heads_rarely_exceed_chance(n, columns, classes):
    """Sixty tables of random labels, of the detector's own classifiers: naive Bayes too."""
    informed = 0
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(n, columns, generator=generator)
        labels = torch.randint(classes, (n,), generator=generator)
        words = csr_matrix(torch.rand(n, 15, generator=generator).gt(0.6).double().numpy())
        rows = LabeledData(features, labels, classes, terms=(words,))
        targets = one_hot(labels, classes).float()
        members = [CrossFitter(5, 2, 1e-3, 0)(rows, targets), NaiveBayes()(words, rows, targets)]
        informed += has_information(rows, (), members)
    assert informed <= 3  # more than 3 have a probability of 0.003 at a rate of 1 %


def test_reversed_logits_have_no_skill():
    labels = torch.arange(60) % 2
    right = 2 * one_hot(labels, 2).float()
    assert measure_skill(right, labels) > 0.5
    assert measure_skill(-right, labels) == 0
    assert calibrated_pseudo_r2(-right, labels) > 0.5  # the calibration alone would reverse them


def make_chance_rows():
    generator = torch.Generator().manual_seed(11)
    labels = torch.arange(150) % 2
    return LabeledData(torch.randn(150, 5, generator=generator), labels, 2)


@pytest.mark.long
def test_a_ranking_by_chance_is_reported():
    detector, rows = MislabelDetector(repeats=1), make_chance_rows()
    assert not detector(rows).informed
    assert detector(make_rows(0.1, n=150)[0]).informed


@pytest.mark.long
def test_another_classifier_or_trusted_rows_inform_a_ranking():
    detector, rows = MislabelDetector(repeats=1), make_chance_rows()
    right = one_hot(rows.labels, 2).float() * 2
    right[::7] = right[::7].flip(1)
    assert detector(replace(rows, external=(ExternalClassifier("llm", outputs=right),))).informed
    assert not detector(
        replace(rows, external=(ExternalClassifier("dice", outputs=draw_chance(3, 150, 2)[0]),))
    ).informed
    assert detector(replace(rows, classifier_logits=right)).informed
    classes = (rows.features[:, 0] > 0).long()
    assert detector(rows, TrustedData(rows.features[:100], classes[:100], 2)).informed
