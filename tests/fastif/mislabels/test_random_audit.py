"""Random audit sample: coverage of its intervals under errors of several kinds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import one_hot

from fastif.mislabels.audit_draws import list_draws
from fastif.mislabels.audit_sample import NO_UNIT, UNKNOWN
from fastif.mislabels.betting_bounds import bound_total, compute_evidence
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views
from fastif.mislabels.labeled_data import NOT_REVIEWED, LabeledData, TrustedData
from fastif.mislabels.random_audit import RandomAudit
from tests.fastif.mislabels.audits import make_audit, population, sample_rows

N = 800


@pytest.mark.parametrize(
    ("kind", "label"), [("fits", None), ("small", 1), ("nothing", 1), ("backwards", None)]
)
def test_nine_of_ten_sequences_of_intervals_cover_the_count(kind, label):
    """All intervals of a sequence, after 1, 2, ..., 60 verdicts."""
    missed = []
    for seed in range(40):
        labels, wrong, prior_error = population(kind, N, seed)
        audited = sample_rows(labels, wrong, prior_error, 60, 1000 + seed)
        target = torch.ones(N) if label is None else (labels == label).double()
        draws = list_draws(audited, target.double().numpy(), 0.0)
        count = float(target.double() @ wrong.double())
        missed.append(float(compute_evidence(draws, np.array([count]))[0]) >= 1)
    # 0.1 + 2.6 standard errors of 40 samples.
    assert np.mean(missed) <= 0.225


def test_the_evidence_decides_the_bounds():
    labels, wrong, prior_error = population("fits", N)
    audit = make_audit(labels, wrong, prior_error, sample_rows(labels, wrong, prior_error, 100, 3))
    draws = list_draws(audit.audited, np.ones(N), 0.0)
    low, high = bound_total(draws, float(N))
    rejected = compute_evidence(draws, np.array([low - 1, low, high, high + 1])) >= 1
    assert rejected.tolist() == [True, False, False, True]


def test_further_verdicts_never_widen_the_interval():
    labels, wrong, prior_error = population("small", N)
    audited = sample_rows(labels, wrong, prior_error, 100, 5)
    draws = list_draws(audited, np.ones(N), 0.0)
    bounds = [bound_total(draws[:t], float(N)) for t in (30, 60, 100)]
    lows, highs = zip(*bounds, strict=True)
    assert list(lows) == sorted(lows)
    assert list(highs) == sorted(highs, reverse=True)
    assert lows[-1] <= int(wrong.sum()) <= highs[-1]


def test_informative_probabilities_make_the_interval_narrower():
    widths = {}
    for kind in ("fits", "nothing"):
        widths[kind] = []
        for seed in range(3):
            labels, wrong, prior_error = population(kind, 2000)
            audited = sample_rows(labels, wrong, prior_error, 100, seed)
            errors = make_audit(labels, wrong, prior_error, audited).estimate_errors()
            widths[kind].append(errors.high - errors.low)
    assert np.mean(widths["fits"]) < 0.85 * np.mean(widths["nothing"])


def test_reviews_elsewhere_and_corrections_leave_coverage():
    """Sampled, then the top-ranked rows are reviewed, then all wrong labels found are removed."""
    inside = []
    for seed in range(8):
        labels, wrong, prior_error = population("small", N, seed)
        audited = sample_rows(labels, wrong, prior_error, 40, 1000 + seed)
        verdict = audited.verdict.clone()
        worst = prior_error.argsort(descending=True)[:100]
        verdict[worst] = wrong[worst].long()
        kept = verdict != 1
        left = replace(audited, verdict=verdict, unit=torch.arange(N)[kept])
        reviewed = (verdict != UNKNOWN)[kept]
        audit = RandomAudit(left, labels[kept], prior_error[kept], reviewed, reviewed & wrong[kept])
        errors = audit.estimate_errors()
        inside.append(errors.low <= int(wrong[kept].sum()) <= errors.high)
        assert errors.high <= int((~reviewed).sum())
    assert sum(inside) >= 6


def test_verdicts_that_are_missing_in_between_count_both_ways():
    labels, wrong, prior_error = population("fits", N)
    whole = sample_rows(labels, wrong, prior_error, 100, 2)
    missing = whole.samples[0].order[[10, 40, 70]]
    bounds = []
    for outcome in (0, 1):
        verdict = whole.verdict.index_fill(0, missing, outcome)
        draws = list_draws(replace(whole, verdict=verdict), np.ones(N), 0.0)
        bounds.append(bound_total(draws, float(N)))
    audited = replace(whole, verdict=whole.verdict.index_fill(0, missing, UNKNOWN))
    errors = make_audit(labels, wrong, prior_error, audited).estimate_errors()
    assert errors.low == min(low for low, _ in bounds)
    assert errors.high == max(high for _, high in bounds)
    assert errors.verdicts == 97


def test_recalibration_matches_scikit_learn():
    labels, wrong, prior_error = population("small", 2000)
    audited = sample_rows(labels, wrong, prior_error, 1000, 1, weighted=False)
    probabilities = make_audit(labels, wrong, prior_error, audited).recalibrate()
    order = audited.samples[0].order
    z = prior_error.double().logit()[:, None].numpy()
    other = LogisticRegression(C=1e6, tol=1e-10).fit(z[order], wrong[order].numpy())
    assert probabilities.numpy() == pytest.approx(other.predict_proba(z)[:, 1], abs=0.01)


def test_recalibration_never_reverses_the_ranking():
    labels, wrong, prior_error = population("backwards", 2000)
    audited = sample_rows(labels, wrong, prior_error, 500, 1)
    probabilities = make_audit(labels, wrong, prior_error, audited).recalibrate()
    assert float(probabilities.max() - probabilities.min()) < 1e-6


def test_a_fully_reviewed_table_has_an_exact_count():
    labels, wrong, prior_error = population("small", 200)
    audit = make_audit(labels, wrong, prior_error, sample_rows(labels, wrong, prior_error, 200, 0))
    errors = audit.estimate_errors()
    assert errors.low == errors.high == errors.expected == int(wrong.sum())
    inside = [audit.estimate_errors(label) for label in range(3)]
    assert sum(estimate.expected for estimate in inside) == int(wrong.sum())


def test_a_label_with_few_verdicts_has_an_interval_and_no_estimate():
    labels, wrong, prior_error = population("fits", N)
    labels = torch.where(torch.arange(N) < 20, 4, labels)
    audited = sample_rows(labels, wrong, prior_error, 60, 1)
    few = make_audit(labels, wrong, prior_error, audited).estimate_errors(4)
    assert few.verdicts < 5
    assert few.expected is None
    assert few.low <= int(wrong[:20].sum()) <= few.high <= 20


def test_rows_added_later_are_not_covered():
    labels, wrong, prior_error = population("fits", N)
    audited = sample_rows(labels[:500], wrong[:500], prior_error[:500], 60, 1)
    audited = replace(audited, unit=torch.where(torch.arange(N) < 500, torch.arange(N), NO_UNIT))
    reviewed = torch.zeros(N, dtype=torch.bool).index_fill(0, audited.samples[0].order, True)
    audit = RandomAudit(audited, labels, prior_error, reviewed, reviewed & wrong)
    assert int(audit.is_later.sum()) == N - 500
    errors = audit.estimate_errors()
    assert errors.low <= int(wrong[:500].sum()) <= errors.high <= 500


def test_a_removed_row_counts_by_its_stored_probability():
    labels, wrong, prior_error = population("small", 2000)
    audited = sample_rows(labels, wrong, prior_error, 200, 1)
    whole = make_audit(labels, wrong, prior_error, audited).recalibrate()
    kept = audited.verdict != 1
    left = replace(audited, unit=torch.arange(2000)[kept])
    reviewed = (audited.verdict != UNKNOWN)[kept]
    audit = RandomAudit(left, labels[kept], prior_error[kept], reviewed, reviewed & wrong[kept])
    assert torch.allclose(audit.recalibrate(), whole[kept], atol=1e-6)


@pytest.mark.long
def test_the_detector_uses_the_audit_sample_and_keeps_its_ranking():
    """Half of one class is labelled as another by a keyword that the features contain."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 3
    word = (truth == 0) & (torch.rand(600, generator=generator) < 0.5)
    labels = torch.where(word, 1, truth)
    points = 6 * one_hot(truth, 3) + torch.randn(600, 3, generator=generator)
    features = concat_views([torch.cat([points, 9.0 * word[:, None]], 1)])
    rows = LabeledData(features, labels, 3)
    plain = MislabelDetector()(rows)
    assert plain.estimate_errors() is None
    audited = sample_rows(labels, word, plain.prior_error, 80, 3)
    known = torch.where(audited.verdict != UNKNOWN, truth, NOT_REVIEWED)
    posterior = MislabelDetector()(LabeledData(features, labels, 3, known=known, audited=audited))
    errors = posterior.estimate_errors()
    assert errors.low <= int(word.sum()) <= errors.high
    assert posterior.estimate_errors(1).low <= int(word.sum()) <= posterior.estimate_errors(1).high
    assert float(posterior.probability.sum()) == pytest.approx(errors.expected, rel=0.25)
    order = posterior.prior_error[known == NOT_REVIEWED].argsort()
    assert (posterior.probability[known == NOT_REVIEWED][order].diff() >= -1e-6).all()
    assert torch.allclose(posterior.posterior.sum(1), torch.ones(600), atol=1e-5)


@pytest.mark.long
def test_trusted_rows_give_no_count():
    """Used ones: the labels follow another feature than the classes."""
    features = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    classes, labels = (features > 0).long().T
    trusted = TrustedData(features[200:], classes[200:], 2)
    posterior = MislabelDetector()(LabeledData(features[:200], labels[:200], 2), trusted)
    assert posterior.trusted
    assert posterior.estimate_errors() is None


def test_an_audit_sample_has_at_least_thirty_rows():
    labels, wrong, prior_error = population("small", N)
    audited = sample_rows(labels, wrong, prior_error, 29, 1)
    known = torch.where(audited.verdict != UNKNOWN, labels, NOT_REVIEWED)
    rows = LabeledData(torch.randn(N, 2), labels, 3, known=known, audited=audited)
    assert rows.make_audit(prior_error) is None
