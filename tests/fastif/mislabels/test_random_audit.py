"""Random audit sample: coverage of its intervals under errors of several kinds."""

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
    """Labels, which are wrong, and error probabilities, calibrated or distorted."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % 3
    true = torch.where(torch.rand(N, generator=generator) < 0.2, 0.7, 0.05)
    wrong = torch.rand(N, generator=generator) < true
    prior_error = {
        "fits": true,
        "small": true * 0.02,
        "nothing": torch.rand(N, generator=generator),
        "backwards": 1 - true,
    }[kind]
    return labels, wrong, prior_error


def sample_rows(labels, wrong, prior_error, m, seed, among=None):
    generator = torch.Generator().manual_seed(seed)
    free = torch.arange(len(labels)) if among is None else among.nonzero()[:, 0]
    place = free[torch.randperm(len(free), generator=generator)[:m]]
    reviewed = torch.zeros(len(labels), dtype=torch.bool).index_fill(0, place, True)
    population_mask = torch.ones(len(labels), dtype=torch.bool) if among is None else among
    return AuditedRows(
        place, labels[place], wrong[place], prior_error[place], population_mask
    ), reviewed


@pytest.mark.parametrize("kind", ["fits", "small", "nothing", "backwards"])
@pytest.mark.parametrize("label", [None, 1])
def test_nine_of_ten_intervals_cover_the_count(kind, label):
    inside = []
    for seed in range(200):
        labels, wrong, prior_error = population(kind, seed)
        sample, reviewed = sample_rows(labels, wrong, prior_error, 100, 1000 + seed)
        errors = RandomAudit(
            sample, labels, prior_error, reviewed, reviewed & wrong
        ).estimate_errors(label)
        counted = wrong if label is None else wrong & (labels == label)
        inside.append(errors.low <= int(counted.sum()) <= errors.high)
    # 0.9 ± 2.3 standard errors of 200 samples, and slightly conservative at most.
    assert 0.85 <= np.mean(inside) <= 0.985


def test_informative_probabilities_make_the_interval_narrower():
    width = {}
    for kind in ("fits", "nothing"):
        labels, wrong, prior_error = population(kind)
        sample, reviewed = sample_rows(labels, wrong, prior_error, 200, 1)
        errors = RandomAudit(
            sample, labels, prior_error, reviewed, reviewed & wrong
        ).estimate_errors()
        width[kind] = errors.high - errors.low
    assert width["fits"] < 0.85 * width["nothing"]


def test_reviews_before_and_corrections_after_the_sample_leave_coverage():
    """The top-ranked rows are reviewed, others are sampled, then all wrong labels are removed."""
    inside = []
    for seed in range(200):
        labels, wrong, prior_error = population("small", seed)
        worst = torch.zeros(N, dtype=torch.bool)
        worst[prior_error.argsort(descending=True)[:150]] = True
        sample, own = sample_rows(labels, wrong, prior_error, 100, 1000 + seed, ~worst)
        reviewed = worst | own
        kept = ~(reviewed & wrong)
        new = torch.where(kept, kept.cumsum(0) - 1, -1)
        population_mask = sample.population[kept]
        left = AuditedRows(
            new[sample.position], sample.label, sample.wrong, sample.prior_error, population_mask
        )
        table = labels[kept], prior_error[kept], reviewed[kept], (reviewed & wrong)[kept]
        errors = RandomAudit(left, *table).estimate_errors()
        inside.append(errors.low <= int(wrong[kept].sum()) <= errors.high)
    assert 0.85 <= np.mean(inside) <= 0.985


def test_recalibration_matches_scikit_learn():
    labels, wrong, prior_error = population("small")
    sample, reviewed = sample_rows(labels, wrong, prior_error, 1000, 1)
    probabilities = RandomAudit(
        sample, labels, prior_error, reviewed, reviewed & wrong
    ).recalibrate()
    z = prior_error.double().logit()[:, None].numpy()
    other = LogisticRegression(C=1e6, tol=1e-10).fit(z[sample.position], sample.wrong.numpy())
    assert probabilities.numpy() == pytest.approx(other.predict_proba(z)[:, 1], abs=0.01)


def test_recalibration_never_reverses_the_ranking():
    labels, wrong, prior_error = population("backwards")
    sample, reviewed = sample_rows(labels, wrong, prior_error, 500, 1)
    probabilities = RandomAudit(
        sample, labels, prior_error, reviewed, reviewed & wrong
    ).recalibrate()
    assert float(probabilities.max() - probabilities.min()) < 1e-6


def test_a_fully_reviewed_table_has_an_exact_count():
    labels, wrong, prior_error = population("small")
    place, every = torch.arange(N), torch.ones(N, dtype=torch.bool)
    errors = RandomAudit(
        AuditedRows(place, labels, wrong, prior_error, every), labels, prior_error, every, wrong
    ).estimate_errors()
    assert errors.low == errors.high == errors.expected == int(wrong.sum())


def test_the_detector_uses_the_audit_sample_and_keeps_its_ranking():
    """Half of one class is labelled as another by a keyword that the features contain."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 3
    word = (truth == 0) & (torch.rand(600, generator=generator) < 0.5)
    labels = torch.where(word, 1, truth)
    points = 6 * one_hot(truth, 3) + torch.randn(600, 3, generator=generator)
    rows = LabeledData(concat_views([torch.cat([points, 9.0 * word[:, None]], 1)]), labels, 3)
    plain = MislabelDetector()(rows)
    assert plain.estimate_errors() is None
    assert plain.estimate_modelled_errors().high < int(word.sum())
    sample, reviewed = sample_rows(labels, word, plain.prior_error, 80, 3)
    known = torch.where(reviewed, truth, NOT_REVIEWED)
    audited_rows = LabeledData(rows.features, labels, 3, known=known, audited=sample)
    posterior = MislabelDetector()(audited_rows)
    errors = posterior.estimate_errors()
    assert errors.low <= int(word.sum()) <= errors.high
    assert posterior.estimate_errors(1).low <= int(word.sum()) <= posterior.estimate_errors(1).high
    assert float(posterior.probability.sum()) == pytest.approx(errors.expected, rel=0.15)
    order = posterior.prior_error[~reviewed].argsort()
    assert (posterior.probability[~reviewed][order].diff() >= -1e-6).all()
    assert torch.allclose(posterior.posterior.sum(1), torch.ones(600), atol=1e-5)


def test_an_audit_sample_has_at_least_thirty_rows():
    labels, wrong, prior_error = population("small")
    sample, reviewed = sample_rows(labels, wrong, prior_error, 29, 1)
    known = torch.where(reviewed, labels, NOT_REVIEWED)
    rows = LabeledData(torch.randn(N, 2), labels, 3, known=known, audited=sample)
    assert rows.make_audit(prior_error) is None


def test_a_removed_row_counts_by_its_stored_probability():
    labels, wrong, prior_error = population("small")
    sample, reviewed = sample_rows(labels, wrong, prior_error, 200, 1)
    whole = RandomAudit(sample, labels, prior_error, reviewed, reviewed & wrong).recalibrate()
    kept = ~(reviewed & wrong)
    new = torch.where(kept, kept.cumsum(0) - 1, -1)
    population_mask = sample.population[kept]
    left = AuditedRows(
        new[sample.position], sample.label, sample.wrong, sample.prior_error, population_mask
    )
    table = labels[kept], prior_error[kept], reviewed[kept], (reviewed & wrong)[kept]
    assert int((left.position < 0).sum()) > 10
    assert torch.allclose(RandomAudit(left, *table).recalibrate(), whole[kept], atol=1e-6)


def test_rows_reviewed_as_right_add_no_errors():
    """The half of highest probability is reviewed as right; of the rest one in fifty is wrong."""
    worst = torch.arange(N) < N // 2
    wrong = ~worst & (torch.arange(N) % 50 == 0)
    prior_error = torch.where(worst, 0.9, 0.02)
    labels = torch.arange(N) % 3
    sample, own = sample_rows(labels, wrong, prior_error, 100, 1, ~worst)
    reviewed = worst | own
    errors = RandomAudit(sample, labels, prior_error, reviewed, reviewed & wrong).estimate_errors()
    assert errors.expected < 100
    assert errors.low <= int(wrong.sum()) <= errors.high
