"""Likelihood of an external classifier's predictions given the class, fitted to soft targets."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.external_classifier import ExternalClassifier
from fastif.mislabels.label_score import LabelScore
from fastif.mislabels.linear_head import BIAS_PENALTY
from fastif.numerics.optimize import minimize_lbfgs

SMOOTHING = 2.0
"""Pseudo-counts of a row of the confusion matrix, distributed as the classifier's predictions."""

STEPS = 30
"""Maximum number of L-BFGS iterations of a calibration."""

MIN_GAIN = 3.0
"""Least gain, nats, of a score of the given label; else it has no weight."""

MAX_LOG_RATIO = 7.0
"""Bound on the log-likelihood ratio of a prediction: no prediction is more than 1,000 to 1."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Confusion matrix of predicted labels, p(prediction j | class t) (Dawid and Skene, 1979).

    Attributes:
        predicted: Predicted class of each row, negative without one, [n].
        counts: Expected number of rows by class and prediction, [c, c].
    """

    predicted: Tensor
    counts: Tensor

    @property
    def parameters(self) -> float:
        """Number of occupied cells, without those of independent margins; at least 1."""
        occupied = float((self.counts / (self.counts + 1)).sum())
        return max(1.0, occupied - 2 * len(self.counts) + 1)

    def fit(self, targets: Float[Tensor, "n c"]) -> "ConfusionMatrix":
        """Return the expected counts under the targets."""
        given = one_hot(self.predicted.clamp_min(0), targets.shape[1]).to(targets)
        return ConfusionMatrix(self.predicted, targets.T @ (given * (self.predicted >= 0)[:, None]))

    @property
    def probabilities(self) -> Float[Tensor, "c c"]:
        """Smoothed p(prediction | class), one row a class, [c, c]."""
        margin = self.counts.sum(0) + SMOOTHING / len(self.counts)
        smoothed = self.counts + SMOOTHING * margin / margin.sum()
        return smoothed / smoothed.sum(1, keepdim=True)

    def compute_log_ratio(self) -> Float[Tensor, "n c"]:
        """Return the log-likelihood ratios of the predictions, [n, c]."""
        class_shares = self.counts.sum(1) / self.counts.sum().clamp_min(1e-12)
        probabilities = self.probabilities
        log_ratio = (probabilities / (class_shares @ probabilities).clamp_min(1e-12)).log()
        log_ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        by_row = log_ratio.T[self.predicted.clamp_min(0)]
        return torch.where((self.predicted >= 0)[:, None], by_row, torch.zeros_like(by_row))


@dataclass(frozen=True, eq=False)
class CalibratedOutputs:
    """Calibrated logits or scores: temperature scaling with a bias per class (Guo et al., 2017).

        p(t | output) = softmax(a · logits + b)[t],   or softmax(w · score + b)[t]
        p(output | t) / p(output) = p(t | output) / p(t)

    Attributes:
        outputs: Logits [n, c] or scores [n, 1]; NaN without a prediction.
        scale: The scalar a [1, 1], or the slopes w [1, c].
        shift: The biases b, [c].
        class_shares: p(t) on the rows of the fit, [c].
    """

    outputs: Tensor
    scale: Tensor
    shift: Tensor
    class_shares: Tensor

    @property
    def parameters(self) -> float:
        """Number of free parameters."""
        return float(self.scale.numel() + self.shift.numel() - 1)

    def fit(self, targets: Float[Tensor, "n c"]) -> "CalibratedOutputs":
        """Return the calibration with the least cross-entropy to the targets, by L-BFGS."""
        counted = ~self.outputs.isnan().any(1) & (targets.sum(1) > 0)
        outputs, weights = self.outputs[counted], targets[counted]
        total = weights.sum().clamp_min(1e-12)
        scale, shift = self.scale.clone().requires_grad_(), self.shift.clone().requires_grad_()

        def loss() -> Tensor:
            logits = _transform(outputs, scale, shift)
            penalty = BIAS_PENALTY * (shift.square().sum() + scale.square().sum())
            return -(weights * logits.log_softmax(1)).sum() / total + penalty

        minimize_lbfgs(loss, [scale, shift], max_iter=STEPS)
        shares = (weights.sum(0) / total).clamp_min(1e-6)
        return CalibratedOutputs(self.outputs, scale.detach(), shift.detach(), shares)

    def compute_log_ratio(self) -> Float[Tensor, "n c"]:
        """Return the log-likelihood ratios of the outputs, [n, c]."""
        log_probs = _transform(self.outputs, self.scale, self.shift).log_softmax(1)
        log_ratio = (log_probs - self.class_shares.log()).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        return log_ratio.nan_to_num(0.0)


def _transform(outputs: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Logits of the classes: scaled logits, or scores times the slopes, plus biases."""
    return outputs * scale + shift


PredictionLikelihood = ConfusionMatrix | CalibratedOutputs | LabelScore
"""Model of p(prediction | class) up to a factor of the row."""


def make_likelihood(
    classifier: ExternalClassifier,
    labels: Int[Tensor, " n"],
    class_posterior: Float[Tensor, "n c"],
) -> PredictionLikelihood:
    """Make the model of a classifier: a confusion matrix for labels, calibration for outputs.

    A score is one of the true class or one of the given label, whichever explains more.

    Args:
        classifier: Labels, logits or scores that the model explains.
        labels: Given label of each row, [n].
        class_posterior: Posterior of the classes without this classifier, [n, c].
    """
    classes = class_posterior.shape[1]
    if classifier.predicted is not None:
        return ConfusionMatrix(classifier.predicted, torch.eye(classes))
    assert classifier.outputs is not None
    width = classifier.outputs.shape[1]
    scale = torch.ones(1, 1) if width == classes else torch.zeros(width, classes)
    shares = torch.full((classes,), 1 / classes)
    of_class = CalibratedOutputs(classifier.outputs, scale, torch.zeros(classes), shares)
    if width == classes:
        return of_class
    of_label = LabelScore(classifier.outputs, labels, torch.zeros(2), classes)
    targets = class_posterior * classifier.has_prediction[:, None]
    gains = [compute_gain(each.fit(targets), targets) for each in (of_class, of_label)]
    return of_label if gains[1] > max(gains[0], MIN_GAIN) else of_class


def compute_gain(likelihood: PredictionLikelihood, targets: Float[Tensor, "n c"]) -> float:
    """Log-likelihood of the targets explained, minus the number of parameters (Akaike, 1974)."""
    return float((targets * likelihood.compute_log_ratio()).sum()) - likelihood.parameters
