"""Mislabel detection on synthetic noise: ranking, calibration, counts, and refused input."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.nn.functional import one_hot

from fastif import InputError
from fastif.mislabels import labeled_data, second_round_check
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.labeled_data import NO_LABEL_FITS, NOT_REVIEWED, LabeledData, TrustedData
from fastif.mislabels.linear_head import fit_linear_head
from fastif.mislabels.second_round_check import second_round_improves
from tests.fastif.mislabels.noisy_clouds import flip_labels, make_clouds, make_rows


@pytest.mark.long
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_all_flips_in_separable_data_are_ranked_first(share):
    rows, truth = make_rows(share, n=900, apart=9.0)
    wrong = rows.labels != truth
    label_posterior = MislabelDetector()(rows)
    assert label_posterior.probability[wrong].min() > label_posterior.probability[~wrong].max()
    assert torch.equal(label_posterior.suggested[wrong], truth[wrong])


@pytest.mark.long
def test_no_number_of_errors_without_a_random_sample():
    rows, _ = make_rows(0.1, n=300, apart=3.0)
    assert MislabelDetector()(rows).estimate_errors() is None


@pytest.mark.long
def test_error_probabilities_are_calibrated():
    """Expected calibration error over ten bins below five points."""
    rows, truth = make_rows(0.2, n=3000, apart=2.0)
    wrong, p = (rows.labels != truth).float(), MislabelDetector()(rows).probability
    gaps = [abs(float(p[part].mean() - wrong[part].mean())) for part in p.argsort().chunk(10)]
    assert sum(gaps) / 10 < 0.05


@pytest.mark.long
def test_the_error_probability_ranks_better_than_the_out_of_fold_loss():
    rows, truth = make_rows(0.25, n=600, apart=2.0)
    wrong = (rows.labels != truth).numpy()
    label_posterior = MislabelDetector()(rows)
    probability_ap = average_precision_score(wrong, label_posterior.probability)
    assert probability_ap > average_precision_score(wrong, label_posterior.label_scores["loss"])


@pytest.mark.long
def test_half_of_the_labels_may_be_wrong():
    rows, truth = make_rows(0.5, n=600)
    label_posterior = MislabelDetector()(rows)
    wrong = (rows.labels != truth).numpy()
    assert average_precision_score(wrong, label_posterior.probability) > 0.95


@pytest.mark.long
def test_the_order_of_rows_has_no_effect_given_their_groups():
    rows, _ = make_rows(0.1)
    rows = replace(rows, groups=torch.arange(len(rows.labels)))
    label_posterior = MislabelDetector()(rows)
    shuffled = torch.randperm(len(rows.labels), generator=torch.Generator().manual_seed(5))
    other = MislabelDetector()(
        LabeledData(rows.features[shuffled], rows.labels[shuffled], 3, groups=rows.groups[shuffled])
    )
    assert torch.allclose(other.probability, label_posterior.probability[shuffled], atol=1e-3)


@pytest.mark.long
def test_constant_features_have_a_pseudo_r2_of_zero():
    _, truth = make_clouds()
    rows = LabeledData(concat_views([torch.ones(300, 4)]), flip_labels(truth, 0.1, 3), 3)
    label_posterior = MislabelDetector()(rows)
    assert torch.isfinite(label_posterior.probability).all()
    assert abs(label_posterior.pseudo_r2) < 0.05
    assert MislabelDetector()(make_rows(0.1)[0]).pseudo_r2 > 0.4


@pytest.mark.long
def test_a_class_of_one_row_has_finite_probabilities():
    points, truth = make_clouds(classes=2)
    labels = truth.clone()
    labels[7] = 2
    label_posterior = MislabelDetector()(LabeledData(concat_views([points]), labels, 3))
    assert torch.isfinite(label_posterior.probability).all()
    assert label_posterior.probability.argmax() == 7


@pytest.mark.default_cases("3")
@pytest.mark.parametrize("n", [2, 3, 5])
def test_very_few_rows_have_finite_probabilities(n):
    labels = torch.arange(n) % 2
    label_posterior = MislabelDetector()(LabeledData(torch.randn(n, 3), labels, 2))
    assert torch.isfinite(label_posterior.probability).all()


def test_duplicates_are_in_one_fold():
    groups = torch.tensor([4, 4, 4, 9, 9, 1, 2, 3])
    parts = assign_group_folds(groups, 3, seed=0)
    assert len(parts[:3].unique()) == len(parts[3:5].unique()) == 1
    assert len(parts.unique()) == 3


@pytest.mark.long
def test_duplicates_of_a_wrong_row_are_not_trained_on():
    """Twenty copies of one wrong row: in separate folds they would support each other."""
    points, truth = make_clouds(200, 2, apart=2.0)
    points = torch.cat([points, points[:1].expand(20, -1)])
    labels = torch.cat([truth, (1 - truth[:1]).expand(20)])
    groups = torch.cat([torch.arange(200), torch.zeros(20, dtype=torch.long)])
    detector = MislabelDetector(neighbours=1)
    apart = detector(LabeledData(concat_views([points]), labels, 2)).label_scores["loss"][200:]
    together = detector(LabeledData(concat_views([points]), labels, 2, groups)).label_scores[
        "loss"
    ][200:]
    assert (together > apart + 0.5).all()


def test_one_class_is_refused():
    with pytest.raises(InputError, match="two or more classes"):
        LabeledData(torch.randn(5, 2), torch.zeros(5, dtype=torch.long), 2)


def test_duplicates_of_a_single_row_are_refused():
    rows = LabeledData(
        torch.ones(4, 2), torch.tensor([0, 1, 0, 1]), 2, torch.zeros(4, dtype=torch.long)
    )
    with pytest.raises(InputError, match="two or more distinct rows"):
        MislabelDetector()(rows)


def test_non_finite_features_are_refused():
    features = torch.randn(5, 2)
    features[3, 1] = torch.nan
    with pytest.raises(InputError, match="row 3"):
        LabeledData(features, torch.tensor([0, 1, 0, 1, 0]), 2)


@pytest.mark.long
def test_trusted_rows_reveal_feature_dependent_noise():
    """All rows on one side of a line have label 1: no classifier of these labels detects it."""
    points, truth = make_clouds(600, 2, apart=2.0)
    labels = torch.where(points[:, 5] > 0.5, 1, truth)
    wrong = labels != truth
    trusted_points, known = make_clouds(200, 2, apart=2.0, seed=9)
    features = concat_views([torch.cat([points, trusted_points])])
    rows = LabeledData(features[:600], labels, 2)
    alone = MislabelDetector()(rows)
    with_trusted = MislabelDetector()(rows, TrustedData(features[600:], known, 2))
    scores = [average_precision_score(wrong.numpy(), f.probability) for f in (alone, with_trusted)]
    assert scores[1] > 0.8 > scores[0] + 0.2


def test_too_few_trusted_rows_are_refused():
    with pytest.raises(InputError, match="two or more of each class"):
        TrustedData(torch.randn(3, 2), torch.tensor([0, 0, 1]), 2)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_row_that_is_not_finite_is_named(monkeypatch, value):
    monkeypatch.setattr(labeled_data, "TILE_ROWS", 4)
    features = torch.randn(11, 3)
    features[9, 2] = features[10, 0] = value
    with pytest.raises(InputError, match="row 9"):
        LabeledData(features, torch.arange(11) % 2, 2)


@pytest.mark.long
def test_reviewed_labels_clamp_the_posterior_and_train_the_heads():
    rows, truth = make_rows(0.3, apart=1.5)
    known = torch.full_like(truth, NOT_REVIEWED)
    known[:150] = truth[:150]
    known[0] = NO_LABEL_FITS
    label_posterior = MislabelDetector()(replace(rows, known=known))
    assert torch.equal(label_posterior.posterior[1:150].argmax(1), truth[1:150])
    assert torch.equal(label_posterior.probability[1:150] > 0.5, (rows.labels != truth)[1:150])
    rest = (rows.labels != truth)[150:].numpy()
    before = average_precision_score(rest, MislabelDetector()(rows).probability[150:])
    assert average_precision_score(rest, label_posterior.probability[150:]) > before


def make_overlapping(share, n=1000):
    """Four overlapping classes with many uninformative features, and true labels.

    With this seed the rounds differ by much; a small difference would depend on rounding.
    """
    generator = torch.Generator().manual_seed(1)
    truth = torch.arange(n) % 4
    points = 1.5 * torch.eye(4, 300)[truth] + torch.randn(n, 300, generator=generator)
    return LabeledData(concat_views([points]), flip_labels(truth, share, 4), 4), truth


@pytest.mark.long
@pytest.mark.parametrize(
    ("of", "pays"), [(make_overlapping(0.02), False), (make_rows(0.4, 2000), True)]
)
def test_a_second_round_is_fitted_only_if_held_out_labels_get_likelier(of, pays):
    """Where it is not fitted, the ranking of the first round is the better one."""
    rows, truth = of
    near, crossing = find_neighbours(rows.features, 20), MislabelDetector()._cross_fitter
    assert second_round_improves(rows, near, crossing) is pays
    given_labels = one_hot(rows.labels, rows.classes).float()
    once = MislabelDetector()._pool_and_fit_noise(rows, [crossing(rows, given_labels)], near)
    twice = MislabelDetector()._pool_and_fit_noise(rows, [crossing(rows, once[1])], near)
    wrong = (rows.labels != truth).numpy()
    first, second = (
        average_precision_score(wrong, 1 - posterior.gather(1, rows.labels[:, None])[:, 0])
        for posterior in (once[1], twice[1])
    )
    assert (second >= first) is pays


@pytest.mark.long
@pytest.mark.parametrize(("share", "pays"), [(0.02, False), (0.4, True)])
def test_a_second_round_of_many_rows_is_decided_on_a_random_sample(monkeypatch, share, pays):
    rows, _ = make_overlapping(0.02) if share < 0.1 else make_rows(share, 2000)
    monkeypatch.setattr(second_round_check, "MAX_ROWS", 700)
    sizes = []

    def fit(features, targets, penalty, weights=None):
        sizes.append(len(features))
        return fit_linear_head(features, targets, penalty, weights)

    near = find_neighbours(rows.features, 20)
    assert second_round_improves(rows, near, MislabelDetector(fit=fit)._cross_fitter) is pays
    assert max(sizes) < 700


def test_classifier_logits_improve_the_ranking_and_count_once():
    rows, truth = make_rows(0.4, 1000)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1000, rows.classes, generator=generator)
    classifier_logits = 1.5 * one_hot(truth, rows.classes) + noise
    wrong = (rows.labels != truth).numpy()
    plain = MislabelDetector(again=True)(rows)
    helped = MislabelDetector(again=True)(replace(rows, classifier_logits=classifier_logits))
    assert plain.second_round
    assert not helped.second_round
    assert "judged_loss" in helped.label_scores
    gain = [
        average_precision_score(wrong, label_posterior.probability)
        for label_posterior in (plain, helped)
    ]
    assert gain[1] > gain[0]
