"""Expected gain of a review: the decrease of the loss of a head trained on the right label."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.head_hessian import HeadHessian
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.linear_head import BIAS_PENALTY, HeadFitter, LinearHead, fit_linear_head
from fastif.numerics.optimize import minimize_lbfgs
from fastif.solvers.cg import ConjugateGradient

SOLVER = ConjugateGradient(tolerance=1e-5, max_steps=1000)
"""Solver of the inverse Hessian; an order needs few digits."""
SCALE_STEPS = 50
"""Maximum number of L-BFGS iterations of the temperature."""


@dataclass(frozen=True, eq=False)
class ValidationRows:
    """Rows whose mean cross-entropy a review should lower.

    Attributes:
        features: Features computed together with those of the training rows, [m, d].
        targets: Right class of each row as a distribution, one-hot where it is known, [m, c].
    """

    features: Float[Tensor, "m d"]
    targets: Float[Tensor, "m c"]

    @classmethod
    def from_labels(
        cls, features: Float[Tensor, "m d"], labels: Int[Tensor, " m"], classes: int
    ) -> "ValidationRows":
        """Return rows with known labels.

        Args:
            features: Features of the rows, [m, d].
            labels: Right label of each row, a class index, [m].
            classes: Number of classes.
        """
        return cls(features, one_hot(labels, classes).to(features))


def compute_review_gain(
    rows: LabeledData,
    posterior: Float[Tensor, "n c"],
    penalty: float,
    validation: ValidationRows | None = None,
    fit: HeadFitter = fit_linear_head,
) -> Float[Tensor, " n"]:
    """Compute the expected gain of reviewing each row by influence functions (Koh and Liang, 2017).

    The gain is the first-order decrease of the validation loss V of a linear head, if the label y_i
    of the row is replaced by its right class t, which has probability q_i(t):

        gain_i = Σ_t q_i(t) · (1/n) ∇Vᵀ H⁻¹ (∇ℓ(x_i, t) - ∇ℓ(x_i, y_i))
               = (1/n) (z_i[y_i] - Σ_t q_i(t) z_i[t]),   z_i = x_iᵀ S,   S = H⁻¹ ∇V

    H is the Hessian of the penalized training loss ℓ. The gradients of a softmax head differ by
    x_i (e_y - e_t)ᵀ, so that one solve with H by conjugate gradients serves all rows and classes.

    V is the mean cross-entropy after temperature scaling, min over a of CE(softmax(a · logits)), as
    the penalty shrinks the logits. Else V falls most where logits grow, and not where they turn.

    The gain is the mean over the verdicts, not the mean of their positive parts: a reviewer does
    not choose the correction. A label that is right changes nothing, and a wrong one is corrected
    even if this raises V. So a gain can be negative.

    Args:
        rows: Training rows with given labels. Reviewed rows are trained on with their right class.
        posterior: p(true class | features, given label) of each row, [n, c].
        penalty: L2 penalty of the head.
        validation: Rows of the validation loss; None uses all training rows that a label fits, with
            the posterior as targets.
        fit: Function that fits a head; see `fit_linear_head`.

    Returns:
        Expected decrease of the validation loss by a review of each row, in nats, [n]; 0 for rows
        with a review.

    Examples:
        >>> import torch
        >>> from fastif.mislabels import LabeledData
        >>> from fastif.mislabels.review_gain import compute_review_gain
        >>> features = torch.tensor([[-1.0, 0.1], [1.0, -0.1]]).repeat(20, 1)
        >>> labels = torch.tensor([0, 1]).repeat(20)
        >>> labels[6] = 1  # a wrong label
        >>> posterior = torch.tensor([[0.99, 0.01], [0.01, 0.99]]).repeat(20, 1)
        >>> gain = compute_review_gain(LabeledData(features, labels, 2), posterior, 1e-3)
        >>> int(gain.argmax())
        6
    """
    targets = rows.clamp_to_known(one_hot(rows.labels, rows.classes).to(rows.features))
    q = rows.clamp_to_known(posterior.to(rows.features))
    row_weights = (rows.weights / rows.weights.sum()).to(rows.features)
    head = fit(rows.features, targets, penalty, rows.weights.to(rows.features))
    if validation is None:
        gradient = _compute_gradient(head, ValidationRows(rows.features, q), row_weights)
    else:
        count = len(validation.features)
        even_weights = row_weights.new_full((count,), 1 / count)
        gradient = _compute_gradient(head, validation, even_weights)
    probabilities = head(rows.features).softmax(1)
    hessian = HeadHessian(rows.features, probabilities, row_weights, penalty, BIAS_PENALTY)
    solution = SOLVER.solve(hessian.with_damping(0.0), gradient.view(1, -1)).value
    S = solution.view_as(gradient)
    z = rows.features @ S[:-1] + S[-1]
    return row_weights * ((targets - q) * z).sum(1)


def approximate_posterior(
    labels: Int[Tensor, " n"],
    error: Float[Tensor, " n"],
    suggested: Int[Tensor, " n"],
    confidence: Float[Tensor, " n"],
    classes: int,
) -> Float[Tensor, "n c"]:
    """Approximate a label posterior from the columns of a mislabel table.

    The suggested label has the share `confidence` of the error probability, and the other classes
    have equal shares of the rest. With two classes it is exact.

    Args:
        labels: Given label of each row, [n].
        error: Error probability of each given label, [n].
        suggested: Suggested label of each row, another than the given one, [n].
        confidence: Probability of the suggested label if the given one is wrong, [n].
        classes: Number of classes c.

    Returns:
        Approximate probabilities of the true class, [n, c].

    Examples:
        >>> row = [torch.tensor([x]) for x in (0, 0.4, 2, 0.5)]
        >>> approximate_posterior(*row, 4)
        tensor([[0.6000, 0.1000, 0.2000, 0.1000]])
    """
    share = torch.ones_like(confidence) if classes == 2 else confidence
    rest = error * (1 - share) / max(1, classes - 2)
    posterior = rest[:, None].repeat(1, classes)
    posterior = posterior.scatter(1, suggested[:, None], (error * share)[:, None])
    return posterior.scatter(1, labels[:, None], 1 - error[:, None])


def _compute_gradient(
    head: LinearHead, validation: ValidationRows, weights: Float[Tensor, " m"]
) -> Float[Tensor, "e c"]:
    """Gradient of the weighted validation loss in weights and, last, biases, [d + 1, c].

    The scale a is at its minimum, so the gradient has no term for its change.
    """
    logits = head(validation.features)
    scale = _fit_scale(logits, validation.targets, weights)
    error = scale * ((scale * logits).softmax(1) - validation.targets) * weights[:, None]
    return torch.cat([validation.features.T @ error, error.sum(0, keepdim=True)])


def _fit_scale(
    logits: Float[Tensor, "m c"], targets: Float[Tensor, "m c"], weights: Float[Tensor, " m"]
) -> Float[Tensor, "1"]:
    """Scale of the logits with the least weighted cross-entropy (Guo et al., 2017), positive."""
    log_scale = logits.new_zeros(1).requires_grad_()

    def loss() -> Tensor:
        log_probabilities = (log_scale.exp() * logits).log_softmax(1)
        return -(weights * (targets * log_probabilities).sum(1)).sum()

    minimize_lbfgs(loss, [log_scale], max_iter=SCALE_STEPS, tolerance_grad=1e-7)
    return log_scale.detach().exp()
