"""Likelihood of a score of the given label, such as a language model's rating of it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from fastif.mislabels.linear_head import BIAS_PENALTY
from fastif.numerics.optimize import minimize_lbfgs

STEPS = 30
"""Maximum number of L-BFGS iterations."""
MAX_LOG_RATIO = 7.0
"""Bound on the log-likelihood ratio of a score."""


@dataclass(frozen=True, eq=False)
class LabelScore:
    """Score of the given label, calibrated to whether it is right (Platt, 1999).

        p(right | score) = σ(slope · score + shift)
        p(score | t) / p(score) = p(right | score) / p(right) for t = y, else the same of wrong

    Attributes:
        outputs: Scores, NaN without one, [n, 1].
        labels: Given label of each row, [n].
        coefficients: Slope and shift, [2].
        classes: Number of classes c.
        right_share: Share of right labels on the rows of the fit.
    """

    outputs: Float[Tensor, "n 1"]
    labels: Int[Tensor, " n"]
    coefficients: Float[Tensor, " 2"]
    classes: int
    right_share: float = 0.5

    @property
    def parameters(self) -> float:
        """Number of parameters beyond the share of right labels."""
        return 1.0

    def fit(self, targets: Float[Tensor, "n c"]) -> "LabelScore":
        """Return the calibration with the least cross-entropy to the targets, by L-BFGS.

        Args:
            targets: Weights of the true classes, zero in rows that do not count, [n, c].
        """
        total = targets.sum(1)
        counted = ~self.outputs.isnan().any(1) & (total > 0)
        scores = self.outputs[counted, 0]
        right = targets.gather(1, self.labels[:, None])[counted, 0]
        total = total[counted]
        norm = total.sum().clamp_min(1e-12)
        coefficients = self.coefficients.clone().requires_grad_()

        def loss() -> Tensor:
            logits = coefficients[0] * scores + coefficients[1]
            terms = right * logsigmoid(logits) + (total - right) * logsigmoid(-logits)
            return -terms.sum() / norm + BIAS_PENALTY * coefficients.square().sum()

        minimize_lbfgs(loss, [coefficients], max_iter=STEPS)
        share = min(1 - 1e-6, max(1e-6, float(right.sum() / norm)))
        return LabelScore(self.outputs, self.labels, coefficients.detach(), self.classes, share)

    def compute_log_ratio(self) -> Float[Tensor, "n c"]:
        """Return the log-likelihood ratios of the scores by true class, [n, c]."""
        logits = self.coefficients[0] * self.outputs[:, 0] + self.coefficients[1]
        share = torch.tensor(self.right_share)
        right, wrong = logsigmoid(logits) - share.log(), logsigmoid(-logits) - (1 - share).log()
        by_class = wrong[:, None].expand(-1, self.classes)
        log_ratio = by_class.scatter(1, self.labels[:, None], right[:, None])
        return log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).nan_to_num(0.0)
