"""Rows drawn at random tell how many labels are wrong, whatever the errors are like."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import one_hot

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views
from fastif.mislabels.labeled_data import NOT_REVIEWED, LabeledData
from fastif.mislabels.random_audit import AuditedRows, RandomAudit

N = 2000


def population(kind, seed=0):
    """Labels, which are wrong, and doubts that fit, are far too small, or say nothing."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % 3
    true = torch.where(torch.rand(N, generator=generator) < 0.2, 0.7, 0.05)
    wrong = torch.rand(N, generator=generator) < true
    doubt = {
        "fits": true,
        "small": true * 0.02,
        "nothing": torch.rand(N, generator=generator),
        "backwards": 1 - true,
    }[kind]
    return labels, wrong, doubt


def sample_rows(labels, wrong, doubt, m, seed, among=None):
    generator = torch.Generator().manual_seed(seed)
    free = torch.arange(len(labels)) if among is None else among.nonzero()[:, 0]
    place = free[torch.randperm(len(free), generator=generator)[:m]]
    reviewed = torch.zeros(len(labels), dtype=torch.bool).index_fill(0, place, True)
    population_mask = torch.ones(len(labels), dtype=torch.bool) if among is None else among
    return AuditedRows(place, labels[place], wrong[place], doubt[place], population_mask), reviewed


@pytest.mark.parametrize("kind", ["fits", "small", "nothing", "backwards"])
@pytest.mark.parametrize("label", [None, 1])
def test_nine_intervals_in_ten_hold_the_count(kind, label):
    inside = []
    for seed in range(200):
        labels, wrong, doubt = population(kind, seed)
        drawn, reviewed = sample_rows(labels, wrong, doubt, 100, 1000 + seed)
        errors = RandomAudit(drawn, labels, doubt, reviewed, reviewed & wrong).estimate_errors(
            label
        )
        counted = wrong if label is None else wrong & (labels == label)
        inside.append(errors.low <= int(counted.sum()) <= errors.high)
    # 0.9 give or take 2.3 standard errors of 200 draws, and no more than a little too wide.
    assert 0.85 <= np.mean(inside) <= 0.985


def test_doubts_that_tell_make_the_interval_narrower():
    width = {}
    for kind in ("fits", "nothing"):
        labels, wrong, doubt = population(kind)
        drawn, reviewed = sample_rows(labels, wrong, doubt, 200, 1)
        errors = RandomAudit(drawn, labels, doubt, reviewed, reviewed & wrong).estimate_errors()
        width[kind] = errors.high - errors.low
    assert width["fits"] < 0.85 * width["nothing"]


def test_what_was_reviewed_and_mended_before_and_after_a_draw_is_counted_right():
    """The worst rows are looked at, then some are drawn, then all that was found is mended."""
    inside = []
    for seed in range(200):
        labels, wrong, doubt = population("small", seed)
        worst = torch.zeros(N, dtype=torch.bool)
        worst[doubt.argsort(descending=True)[:150]] = True
        drawn, own = sample_rows(labels, wrong, doubt, 100, 1000 + seed, ~worst)
        reviewed = worst | own
        kept = ~(reviewed & wrong)
        new = torch.where(kept, kept.cumsum(0) - 1, -1)
        population_mask = drawn.population[kept]
        left = AuditedRows(
            new[drawn.position], drawn.label, drawn.wrong, drawn.prior_error, population_mask
        )
        table = labels[kept], doubt[kept], reviewed[kept], (reviewed & wrong)[kept]
        errors = RandomAudit(left, *table).estimate_errors()
        inside.append(errors.low <= int(wrong[kept].sum()) <= errors.high)
    assert 0.85 <= np.mean(inside) <= 0.985


def test_recalibration_is_that_of_another_library():
    labels, wrong, doubt = population("small")
    drawn, reviewed = sample_rows(labels, wrong, doubt, 1000, 1)
    probabilities = RandomAudit(drawn, labels, doubt, reviewed, reviewed & wrong).recalibrate()
    z = doubt.double().logit()[:, None].numpy()
    other = LogisticRegression(C=1e6, tol=1e-10).fit(z[drawn.position], drawn.wrong.numpy())
    assert probabilities.numpy() == pytest.approx(other.predict_proba(z)[:, 1], abs=0.01)


def test_an_order_that_is_backwards_is_not_turned():
    labels, wrong, doubt = population("backwards")
    drawn, reviewed = sample_rows(labels, wrong, doubt, 500, 1)
    probabilities = RandomAudit(drawn, labels, doubt, reviewed, reviewed & wrong).recalibrate()
    assert float(probabilities.max() - probabilities.min()) < 1e-6


def test_everything_seen_is_everything_known():
    labels, wrong, doubt = population("small")
    place, every = torch.arange(N), torch.ones(N, dtype=torch.bool)
    errors = RandomAudit(
        AuditedRows(place, labels, wrong, doubt, every), labels, doubt, every, wrong
    ).estimate_errors()
    assert errors.low == errors.high == errors.expected == int(wrong.sum())


def test_the_detector_counts_by_drawn_rows_and_keeps_its_order():
    """Half of one class is labelled as another by a word that the features hold."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 3
    word = (truth == 0) & (torch.rand(600, generator=generator) < 0.5)
    labels = torch.where(word, 1, truth)
    points = 6 * one_hot(truth, 3) + torch.randn(600, 3, generator=generator)
    rows = LabeledData(concat_views([torch.cat([points, 9.0 * word[:, None]], 1)]), labels, 3)
    plain = MislabelDetector()(rows)
    assert plain.estimate_errors() is None
    assert plain.estimate_modelled_errors().high < int(word.sum())
    drawn, reviewed = sample_rows(labels, word, plain.prior_error, 80, 3)
    known = torch.where(reviewed, truth, NOT_REVIEWED)
    audited_rows = LabeledData(rows.features, labels, 3, known=known, audited=drawn)
    posterior = MislabelDetector()(audited_rows)
    errors = posterior.estimate_errors()
    assert errors.low <= int(word.sum()) <= errors.high
    assert posterior.estimate_errors(1).low <= int(word.sum()) <= posterior.estimate_errors(1).high
    assert float(posterior.probability.sum()) == pytest.approx(errors.expected, rel=0.15)
    order = posterior.prior_error[~reviewed].argsort()
    assert (posterior.probability[~reviewed][order].diff() >= -1e-6).all()
    assert torch.allclose(posterior.posterior.sum(1), torch.ones(600), atol=1e-5)


def test_fewer_than_thirty_are_not_asked():
    labels, wrong, doubt = population("small")
    drawn, reviewed = sample_rows(labels, wrong, doubt, 29, 1)
    known = torch.where(reviewed, labels, NOT_REVIEWED)
    rows = LabeledData(torch.randn(N, 2), labels, 3, known=known, audited=drawn)
    assert rows.make_audit(doubt) is None


def test_a_row_that_is_gone_counts_by_what_was_told_of_it():
    labels, wrong, doubt = population("small")
    drawn, reviewed = sample_rows(labels, wrong, doubt, 200, 1)
    whole = RandomAudit(drawn, labels, doubt, reviewed, reviewed & wrong).recalibrate()
    kept = ~(reviewed & wrong)
    new = torch.where(kept, kept.cumsum(0) - 1, -1)
    population_mask = drawn.population[kept]
    left = AuditedRows(
        new[drawn.position], drawn.label, drawn.wrong, drawn.prior_error, population_mask
    )
    table = labels[kept], doubt[kept], reviewed[kept], (reviewed & wrong)[kept]
    assert int((left.position < 0).sum()) > 10
    assert torch.allclose(RandomAudit(left, *table).recalibrate(), whole[kept], atol=1e-6)


def test_rows_that_were_seen_to_be_right_are_not_doubted():
    """The most doubtful half was looked at, and is right; of the rest one in fifty is wrong."""
    worst = torch.arange(N) < N // 2
    wrong = ~worst & (torch.arange(N) % 50 == 0)
    doubt = torch.where(worst, 0.9, 0.02)
    labels = torch.arange(N) % 3
    drawn, own = sample_rows(labels, wrong, doubt, 100, 1, ~worst)
    reviewed = worst | own
    errors = RandomAudit(drawn, labels, doubt, reviewed, reviewed & wrong).estimate_errors()
    assert errors.expected < 100
    assert errors.low <= int(wrong.sum()) <= errors.high
