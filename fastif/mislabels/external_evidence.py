"""Evidence of external classifiers for the true classes, combined with the detector's own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.mislabels.calibration import calibrate_logits
from fastif.mislabels.copied_labels import estimate_excess_agreement, mix_copies, split_copies
from fastif.mislabels.evidence_weights import (
    compute_log_shares,
    explained_entropy,
    fit_evidence_weights,
)
from fastif.mislabels.external_classifier import ClassifierTrust, ExternalClassifier
from fastif.mislabels.label_score import LabelScore
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.prediction_likelihood import (
    CalibratedOutputs,
    PredictionLikelihood,
    compute_gain,
    make_likelihood,
)

ROUNDS = 4
"""Number of alternations between the likelihoods of the predictions and their weights."""


@dataclass(frozen=True, eq=False)
class ExternalEvidence:
    """Combined evidence of external classifiers.

    Attributes:
        log_ratio: Log-likelihood ratio of all predictions of a row by true class; zero in a row
            without a prediction, [n, c].
        trust: Estimated reliability of each classifier.
    """

    log_ratio: Float[Tensor, "n c"]
    trust: tuple[ClassifierTrust, ...]

    def update(self, class_posterior: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Update probabilities of the classes by Bayes' rule; rows without evidence stay as is."""
        updated = (class_posterior.clamp_min(1e-30).log() + self.log_ratio).softmax(1)
        has_evidence = (self.log_ratio != 0).any(1, keepdim=True)
        return torch.where(has_evidence, updated, class_posterior)

    def compute_loss(self, rows: LabeledData) -> Float[Tensor, " n"]:
        """Cross-entropy of the given labels by other classifiers alone, nats, [n].

        Before the evidence are the class shares or, where there is one, the calibrated classifier
        of `LabeledData.classifier_logits`.
        """
        logits = compute_log_shares(rows.labels, rows.classes)
        if rows.classifier_logits is not None:
            logits = calibrate_logits(rows.classifier_logits, rows.labels).log_softmax(1)
        log_probs = (logits + self.log_ratio).log_softmax(1)
        return -log_probs.gather(1, rows.labels[:, None])[:, 0]


def fit_external_evidence(
    rows: LabeledData,
    p: Float[Tensor, "n c"],
    class_posterior: Float[Tensor, "n c"],
    transition: Float[Tensor, "c c"],
) -> ExternalEvidence:
    """Fit the evidence of external classifiers by Dawid and Skene (1979), weighted log-linearly.

        r_k(t) = p(prediction of k | t) / p(prediction of k)
        posterior(t) ∝ p(t | x) T[t, y] Π_k r_k(t)^a_k

    Labels have a confusion matrix, logits and scores a calibration with a bias per class, which
    also determines the direction of a score. Both are fitted to the posterior, in alternation with
    the exponents a_k in [0, 1] (`fit_evidence_weights`): 0 for a random classifier; classifiers
    that make the same errors share a weight. A score is one of the true class, or of the given
    label (`LabelScore`), whichever explains more of the posterior.

    A classifier that was trained on these labels repeats wrong ones. One that agrees with nearly
    all of them, and more than the out-of-fold classifiers, is modelled as a copier (Dong et al.,
    2009): with probability λ_k it follows the given label y instead of the true class. With λ_k
    near 1 only its disagreement is evidence.

    Args:
        rows: Labelled data with external classifiers.
        p: Class probabilities p(t | x) without these classifiers, [n, c].
        class_posterior: Posterior without these classifiers, [n, c].
        transition: Noise transition matrix T, [c, c].

    Returns:
        The evidence of all classifiers, and how reliable each is.
    """
    labels, classifiers = rows.labels, rows.external
    before = rows.clamp_to_known(class_posterior) * rows.weights[:, None]
    likelihoods = [make_likelihood(each, labels, before) for each in classifiers]
    least = [estimate_excess_agreement(each, p, labels) for each in classifiers]
    copying, weights = list(least), [1.0] * len(classifiers)
    evidence = ExternalEvidence(torch.zeros_like(p), ())
    for _ in range(ROUNDS):
        posterior = rows.clamp_to_known(evidence.update(class_posterior))
        for k, each in enumerate(classifiers):
            counted = posterior * (rows.weights * each.has_prediction)[:, None]
            log_ratio = likelihoods[k].compute_log_ratio()
            targets, rate = split_copies(log_ratio, counted, labels, copying[k])
            copying[k] = max(rate, least[k])
            likelihoods[k] = likelihoods[k].fit(targets)
        weights = _fit_weights(rows, likelihoods, copying, transition)
        log_ratio = torch.zeros_like(p)
        for likelihood, weight, rate in zip(likelihoods, weights, copying, strict=True):
            log_ratio += mix_copies(weight * likelihood.compute_log_ratio(), labels, rate)
        evidence = ExternalEvidence(log_ratio, ())
    posterior = rows.clamp_to_known(evidence.update(class_posterior))
    trust = [
        _summarize(*parts, posterior, labels, transition)
        for parts in zip(classifiers, likelihoods, copying, weights, strict=True)
    ]
    return ExternalEvidence(evidence.log_ratio, tuple(trust))


def add_external_evidence(
    rows: LabeledData,
    p: Float[Tensor, "n c"],
    class_posterior: Float[Tensor, "n c"],
    transition: Float[Tensor, "c c"],
) -> tuple[Tensor, Tensor, tuple[ClassifierTrust, ...], dict[str, Tensor]]:
    """Update a detector's probabilities by the external classifiers; unchanged without any.

    Args:
        rows: Labelled data.
        p: Class probabilities p(t | x), [n, c].
        class_posterior: Posterior of the classes without these classifiers, [n, c].
        transition: Noise transition matrix T, [c, c].

    Returns:
        The updated p and posterior, the reliability of each classifier, and the score column
        `judged_loss`, also of `LabeledData.classifier_logits`.
    """
    if not rows.external:
        if rows.classifier_logits is None:
            return p, class_posterior, (), {}
        log_probs = rows.classifier_logits.log_softmax(1)
        loss = -log_probs.gather(1, rows.labels[:, None])[:, 0]
        return p, class_posterior, (), {"judged_loss": loss}
    evidence = fit_external_evidence(rows, p, class_posterior, transition)
    scores = {"judged_loss": evidence.compute_loss(rows)}
    return evidence.update(p), evidence.update(class_posterior), evidence.trust, scores


def _fit_weights(
    rows: LabeledData,
    likelihoods: Sequence[PredictionLikelihood],
    copying: Sequence[float],
    transition: Tensor,
) -> list[float]:
    """Weights of the classifiers: 1 for copiers and label scores, 0 where nothing is explained."""
    weights = [float(rate > 0) for rate in copying]
    for k, likelihood in enumerate(likelihoods):
        if isinstance(likelihood, LabelScore):  # it was chosen since it explains enough
            weights[k] = 1.0
    known_one_hot = rows.known_one_hot
    is_known = known_one_hot.sum(1, keepdim=True) > 0
    # A reviewed row counts by its right class, another one by its given label.
    given_rates = transition.clamp_min(1e-12).log()[:, rows.labels].T
    log_rates = torch.where(is_known, known_one_hot.log(), given_rates)
    ids, ratios = [], []
    for k, likelihood in enumerate(likelihoods):
        ratio = likelihood.compute_log_ratio()
        counted = rows.external[k].has_prediction
        explained = explained_entropy(
            ratio, likelihood.parameters, transition, rows.labels, counted
        )
        if weights[k] == 0 and explained > 0:
            ids.append(k)
            ratios.append(ratio)
    parameters = [likelihoods[k].parameters for k in ids]
    fitted = fit_evidence_weights(ratios, parameters, log_rates, rows.labels).tolist()
    for k, weight in zip(ids, fitted, strict=True):
        weights[k] = weight
    return weights


def _summarize(
    classifier: ExternalClassifier,
    likelihood: PredictionLikelihood,
    copying: float,
    weight: float,
    posterior: Tensor,
    labels: Tensor,
    transition: Tensor,
) -> ClassifierTrust:
    """Summarize how reliable a classifier is on the rows that it predicts."""
    has, log_ratio = classifier.has_prediction, likelihood.compute_log_ratio()
    predicted = classifier.predicted_classes
    if isinstance(likelihood, LabelScore):
        targets = posterior * has[:, None]
        right = targets.gather(1, labels[:, None]).sum() / has.sum()
        entropy = float(has.sum() * torch.special.entr(torch.stack([right, 1 - right])).sum())
        explained = min(1.0, max(0.0, compute_gain(likelihood, targets) / max(entropy, 1e-9)))
        predicted = torch.where(log_ratio.gather(1, labels[:, None])[:, 0] > 0, labels, -1)
    else:
        explained = explained_entropy(log_ratio, likelihood.parameters, transition, labels, has)
    slope = float(likelihood.coefficients[0]) if isinstance(likelihood, LabelScore) else None
    rising = falling = None
    if predicted is None and isinstance(likelihood, CalibratedOutputs):
        predicted = (likelihood.class_shares.log() + log_ratio).argmax(1)
        rising, falling = int(likelihood.scale.argmax()), int(likelihood.scale.argmin())
    assert predicted is not None
    rows = max(1, int(has.sum()))
    agreement = float((predicted == labels)[has].sum()) / rows
    accuracy = float(posterior.gather(1, predicted.clamp_min(0)[:, None])[has].sum()) / rows
    return ClassifierTrust(
        classifier.name,
        int(has.sum()),
        agreement,
        accuracy,
        explained,
        copying,
        weight,
        rising,
        falling,
        slope,
    )
