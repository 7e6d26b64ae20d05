"""External classifiers: recovered confusion, direction of scores, dependence, copies, no harm."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.nn.functional import one_hot

from fastif import InputError
from fastif.mislabels.copied_labels import mix_copies, split_copies
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.external_classifier import ExternalClassifier
from fastif.mislabels.external_evidence import fit_external_evidence
from fastif.mislabels.labeled_data import NOT_REVIEWED, LabeledData, TrustedData
from fastif.mislabels.prediction_likelihood import make_likelihood
from tests.fastif.mislabels.noisy_clouds import flip_labels, make_rows

N, C = 3000, 3
TRANSITION = torch.full((C, C), 0.1).fill_diagonal_(0.8)


@pytest.fixture(scope="module")
def simulated():
    """Rows with exact p(t | x), labels with 20 % symmetric noise, and the exact posterior."""
    generator = torch.Generator().manual_seed(0)
    p = (2 * torch.randn(N, C, generator=generator)).softmax(1)
    truth = torch.multinomial(p, 1, generator=generator)[:, 0]
    labels = torch.multinomial(TRANSITION[truth], 1, generator=generator)[:, 0]
    posterior = p * TRANSITION[:, labels].T
    return p, truth, labels, posterior / posterior.sum(1, keepdim=True)


def label_at_random(truth, accuracy, seed=1):
    """Labels of a classifier whose errors are independent of everything else."""
    return flip_labels(truth, (1 - accuracy), C, seed)


def fit(simulated, *classifiers, known=None):
    p, _, labels, posterior = simulated
    rows = LabeledData(torch.zeros(N, 1), labels, C, known=known, external=classifiers)
    return fit_external_evidence(rows, p, posterior, TRANSITION)


def average_precision(simulated, evidence):
    _, truth, labels, posterior = simulated
    updated = evidence.update(posterior)
    return average_precision_score(labels != truth, 1 - updated.gather(1, labels[:, None])[:, 0])


def exact_average_precision(simulated, *log_ratios):
    """By Bayes' rule with the true likelihoods of the predictions."""
    _, truth, labels, posterior = simulated
    exact = (posterior.log() + sum(log_ratios, torch.zeros(N, C))).softmax(1)
    return average_precision_score(labels != truth, 1 - exact.gather(1, labels[:, None])[:, 0])


def true_log_ratio(predicted, accuracy):
    confusion = torch.full((C, C), (1 - accuracy) / (C - 1)).fill_diagonal_(accuracy)
    return confusion[:, predicted].T.log()


@pytest.mark.parametrize("accuracy", [0.6, 0.85])
def test_a_classifier_with_independent_errors_is_used_as_by_bayes_rule(simulated, accuracy):
    predicted = label_at_random(simulated[1], accuracy)
    evidence = fit(simulated, ExternalClassifier("a", predicted=predicted))
    (trust,) = evidence.trust
    assert trust.weight > 0.9
    assert trust.accuracy == pytest.approx(accuracy, abs=0.03)
    assert trust.agreement == pytest.approx(float((predicted == simulated[2]).float().mean()))
    best = exact_average_precision(simulated, true_log_ratio(predicted, accuracy))
    assert average_precision(simulated, evidence) == pytest.approx(best, abs=0.01)
    assert best > exact_average_precision(simulated) + 0.02


def test_rows_without_a_prediction_keep_their_posterior_exactly(simulated):
    predicted = label_at_random(simulated[1], 0.85)
    predicted[::3] = -1
    evidence = fit(simulated, ExternalClassifier("a", predicted=predicted))
    updated = evidence.update(simulated[3])
    assert torch.equal(updated[::3], simulated[3][::3])
    assert not torch.allclose(updated[1::3], simulated[3][1::3], atol=1e-3)
    assert evidence.trust[0].rows == N - N // 3


def make_random_columns(truth):
    generator = torch.Generator().manual_seed(7)
    return {
        "labels": ExternalClassifier("r", predicted=torch.randint(C, (N,), generator=generator)),
        "logits": ExternalClassifier("r", outputs=torch.randn(N, C, generator=generator)),
        "score": ExternalClassifier("r", outputs=torch.randn(N, 1, generator=generator)),
        "constant": ExternalClassifier("r", predicted=torch.zeros_like(truth)),
        "zeros": ExternalClassifier("r", outputs=torch.zeros(N, 1)),
    }


@pytest.mark.parametrize("kind", ["labels", "logits", "score", "constant", "zeros"])
def test_a_column_without_information_has_no_weight(simulated, kind):
    evidence = fit(simulated, make_random_columns(simulated[1])[kind])
    assert evidence.trust[0].weight < 0.05
    assert evidence.trust[0].pseudo_r2 < 0.005
    alone = exact_average_precision(simulated)
    assert average_precision(simulated, evidence) == pytest.approx(alone, abs=0.002)


def test_a_copy_of_the_labels_is_recognized_and_does_no_harm(simulated):
    _, truth, labels, _ = simulated
    repeated = labels.clone()
    repeated[::500] = (labels[::500] + 1) % C
    logits = 8.0 * one_hot(repeated, C) + 0.3 * torch.randn(N, C)
    for copy in (
        ExternalClassifier("c", predicted=repeated),
        ExternalClassifier("c", outputs=logits),
    ):
        evidence = fit(simulated, copy)
        assert evidence.trust[0].copying > 0.9
        alone = exact_average_precision(simulated)
        assert average_precision(simulated, evidence) == pytest.approx(alone, abs=0.01)
        wrong = float((1 - evidence.update(simulated[3]).gather(1, labels[:, None])).sum())
        assert wrong == pytest.approx(float((labels != truth).sum()), rel=0.1)


def test_the_same_classifier_twice_shares_its_weight(simulated):
    predicted = label_at_random(simulated[1], 0.85)
    once = fit(simulated, ExternalClassifier("a", predicted=predicted))
    twice = fit(simulated, *[ExternalClassifier(n, predicted=predicted) for n in "ab"])
    assert twice.trust[0].weight == pytest.approx(once.trust[0].weight / 2, abs=0.1)
    assert (twice.log_ratio - once.log_ratio).abs().mean() < 0.2


def test_two_independent_classifiers_are_better_than_each(simulated):
    predictions = [label_at_random(simulated[1], 0.8, seed) for seed in (1, 2)]
    classifiers = [ExternalClassifier(f"{i}", predicted=j) for i, j in enumerate(predictions)]
    both = average_precision(simulated, fit(simulated, *classifiers))
    for classifier in classifiers:
        assert both > average_precision(simulated, fit(simulated, classifier)) + 0.03


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_direction_and_scale_of_outputs_are_calibrated(simulated, sign):
    """Logits that are too large or reversed, and a score of one class, end as evidence alike."""
    _, truth, _, _ = simulated
    generator = torch.Generator().manual_seed(3)
    logits = 2.0 * one_hot(truth, C) + torch.randn(N, C, generator=generator)
    exact = exact_average_precision(simulated, 2.0 * logits)
    evidence = fit(simulated, ExternalClassifier("a", outputs=10 * sign * logits))
    assert average_precision(simulated, evidence) == pytest.approx(exact, abs=0.015)
    score = fit(simulated, ExternalClassifier("s", outputs=sign * logits[:, :1]))
    trust = score.trust[0]
    assert (trust.rising if sign > 0 else trust.falling) == 0
    assert average_precision(simulated, score) > exact_average_precision(simulated) + 0.02


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_score_of_the_given_label_is_recognized_with_its_direction(simulated, sign):
    """A normal score with another mean for right labels; exact by Bayes' rule."""
    _, truth, labels, posterior = simulated
    is_right = (truth == labels).float()
    score = 2 * is_right + torch.randn(N, generator=torch.Generator().manual_seed(4))
    evidence = fit(simulated, ExternalClassifier("rating", outputs=sign * score[:, None]))
    (trust,) = evidence.trust
    assert trust.label_slope is not None
    assert 1.2 < sign * trust.label_slope < 2.3  # of two normal distributions 2 apart
    exact = one_hot(labels, C) * (2 * score - 2)[:, None]
    best = exact_average_precision(simulated, exact)
    assert average_precision(simulated, evidence) == pytest.approx(best, abs=0.01)
    assert best > exact_average_precision(simulated) + 0.1
    updated = evidence.update(posterior).gather(1, labels[:, None])[:, 0]
    assert float(updated.mean()) == pytest.approx(float(is_right.mean()), abs=0.02)


def test_annotations_reveal_a_classifier_that_is_wrong_in_one_class(simulated):
    """Reviewed rows count by their right class: of class 2 all are predicted as class 0."""
    _, truth, _, _ = simulated
    predicted = torch.where(truth == 2, torch.zeros_like(truth), truth)
    known = torch.full_like(truth, NOT_REVIEWED)
    known[:600] = truth[:600]
    evidence = fit(simulated, ExternalClassifier("a", predicted=predicted), known=known)
    ratio = evidence.log_ratio[predicted == 0][0].exp()
    assert ratio[1] < 0.1 * ratio[0]
    assert ratio[2] == pytest.approx(float(ratio[0]), rel=0.3)


def test_one_em_step_of_a_copier_is_the_exact_conditional_probability():
    ratio, posterior = torch.tensor([[1.5, 0.5]]), torch.tensor([[0.6, 0.4]])
    labels, rate = torch.tensor([0]), 0.3
    mixed = mix_copies(ratio.log(), labels, rate).exp()
    assert torch.allclose(mixed, torch.tensor([[1.5, 0.7 * 0.5 + 0.3 * 1.5]]))
    followed, new_rate = split_copies(ratio.log(), posterior, labels, rate)
    own = 0.4 * 0.7 * 0.5 / (0.7 * 0.5 + 0.3 * 1.5)
    assert torch.allclose(followed, torch.tensor([[1 - own, own]]))
    assert new_rate == pytest.approx((0.4 - own) / (0.4 + 10.0), rel=1e-5)


def test_the_confusion_matrix_is_that_of_the_targets():
    predicted = torch.tensor([0, 0, 1, -1])
    classifier = ExternalClassifier("a", predicted=predicted)
    likelihood = make_likelihood(classifier, predicted, torch.full((4, 2), 0.5))
    fitted = likelihood.fit(torch.tensor([[1.0, 0], [0.5, 0.5], [0, 1], [1, 0]]))
    assert torch.equal(fitted.counts, torch.tensor([[1.5, 0.0], [0.5, 1.0]]))
    margin = torch.tensor([3.0, 2.0]) / 5
    expected = (fitted.counts + 2 * margin) / (1.5 + 2)
    assert torch.allclose(fitted.probabilities, expected)
    assert (fitted.compute_log_ratio()[3] == 0).all()


@pytest.mark.long
def test_the_detector_uses_them_and_selections_keep_them():
    rows, truth = make_rows(0.2, n=300, apart=1.5)
    wrong = (rows.labels != truth).numpy()
    classifier = ExternalClassifier("a", predicted=flip_labels(truth, 0.1, 3, seed=9))
    helped = MislabelDetector()(replace(rows, external=(classifier,)))
    alone = MislabelDetector()(rows)
    gain = [average_precision_score(wrong, result.probability) for result in (alone, helped)]
    assert gain[1] > gain[0] + 0.1
    assert helped.external[0].rows == 300
    assert "judged_loss" in helped.label_scores
    assert "judged_loss" not in alone.label_scores
    assert alone.external == ()
    part = replace(rows, external=(classifier,)).select(torch.arange(300) < 50)
    assert len(part.external[0].predicted) == 50


@pytest.mark.long
def test_they_are_combined_with_trusted_rows():
    rows, truth = make_rows(0.3, n=200, apart=1.0)
    trusted = TrustedData(rows.features[:30], truth[:30], 3)
    classifier = ExternalClassifier("a", predicted=flip_labels(truth, 0.1, 3, seed=9))
    wrong = (rows.labels != truth).numpy()
    gain = [
        average_precision_score(wrong, MislabelDetector()(data, trusted).probability)
        for data in (rows, replace(rows, external=(classifier,)))
    ]
    assert gain[1] > gain[0] + 0.1


def test_predictions_of_other_rows_or_classes_are_refused():
    rows, _ = make_rows(0.1)
    for classifier in (
        ExternalClassifier("a", predicted=rows.labels[:-1]),
        ExternalClassifier("a", predicted=rows.labels + 1),
        ExternalClassifier("a", outputs=torch.zeros(300, 2)),
    ):
        with pytest.raises(InputError, match="300 rows and 3 classes"):
            replace(rows, external=(classifier,))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "both or neither"),
        ({"outputs": torch.tensor([[1.0, float("inf")]])}, "infinity"),
        ({"outputs": torch.tensor([[1.0, float("nan")]])}, "NaN in a part of a row"),
    ],
)
def test_unusable_outputs_are_refused(keys, words):
    with pytest.raises(InputError, match=words):
        ExternalClassifier("a", **keys)
