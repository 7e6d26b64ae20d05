"""Whether trusted rows are like the table, and improve a detection of simulated label noise."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.calibration import fit_calibration
from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.labeled_data import LabeledData, TrustedData
from fastif.mislabels.noise_model import compute_posterior
from fastif.mislabels.trusted_fit import TrustedFit

SIMULATIONS, MIN_FLIPS = 20, 2
"""Number of simulations, and least number of wrong labels of one that counts."""

MIN_GAIN = 0.03
"""Gain of average precision from which trusted rows are used.

Where trusted rows of the same source raised the average precision by 0.23 and 0.05, the simulated
gain was 0.31 and 0.06; where they lowered it by 0.02 and 0.07, it was 0.00 and -0.04.
"""


MAX_DOMAIN_AUC = 0.8
"""Area under the ROC curve of table against trusted rows from which they are of other domains.

It was 0.51 to 0.57 where both were of one source, and 1.0 for trusted pairs of other genres, which
lowered the average precision by 0.11 although the simulated gain, measured on them, was 0.13.
"""

DOMAIN_ROWS = 5_000
"""Maximum number of rows of the table for the comparison of the domains."""


@dataclass(frozen=True)
class TrustedComparison:
    """Domain, and detection of simulated wrong labels among the trusted rows with and without them.

    Attributes:
        domain_auc: Area under the ROC curve of a classifier of table against trusted rows: 0.5 if
            they are alike, 1 if they are of other domains.
        table: Average precision by the classifier of the table alone; None if no label is flipped.
        trusted: Average precision with the other trusted rows; None if no label is flipped.
        table_accuracy: Accuracy of the classifier of the table alone on the trusted rows.
        trusted_accuracy: Accuracy with the other trusted rows.
    """

    domain_auc: float
    table: float | None
    trusted: float | None
    table_accuracy: float
    trusted_accuracy: float

    @property
    def is_better(self) -> bool:
        """Whether trusted rows are of the table's domain and improve the detection clearly."""
        if self.domain_auc > MAX_DOMAIN_AUC or self.table is None or self.trusted is None:
            return False
        return self.trusted - self.table > MIN_GAIN


def compare_trusted(
    rows: LabeledData,
    trusted: TrustedData,
    class_posterior: Float[Tensor, "n c"],
    fitted: TrustedFit,
    cross_fitter: CrossFitter,
) -> TrustedComparison:
    """Compare detections with and without trusted rows on simulated noise.

    Given labels of the trusted rows are drawn from the row T[t, :] of their trusted label t, with T
    by the fit with trusted rows: errors that follow a rule are not in the T of the table alone. The
    wrong ones are ranked by the posterior of each classifier, with the same T. All class
    probabilities are of classifiers that have not seen the row's trusted label.

    Args:
        rows: Labelled data.
        trusted: Trusted rows.
        class_posterior: Label posterior of the rows without trusted rows, [n, c].
        fitted: Fit with trusted rows.
        cross_fitter: Cross-fitting of linear heads.
    """
    head = cross_fitter.fit(rows.features, class_posterior, cross_fitter.penalty, rows.weights)
    scale, shift = fit_calibration(cross_fitter(rows, class_posterior), class_posterior.argmax(1))
    by_table = (scale * head(trusted.features) + shift).softmax(1)
    transition = fitted.transition
    pairs = [
        [_rank_errors(trusted.labels, given, p, transition) for p in (by_table, fitted.held_out)]
        for given in _simulate_labels(trusted.labels, transition)
    ]
    table, with_trusted = np.mean(pairs, 0).tolist() if pairs else (None, None)
    accuracy = [
        float((p.argmax(1) == trusted.labels).float().mean()) for p in (by_table, fitted.held_out)
    ]
    domain_auc = _compare_domains(rows, trusted, cross_fitter)
    return TrustedComparison(domain_auc, table, with_trusted, *accuracy)


def _compare_domains(rows: LabeledData, trusted: TrustedData, cross_fitter: CrossFitter) -> float:
    """Area under the ROC curve of out-of-fold logits for table against trusted rows."""
    count = min(len(rows.labels), DOMAIN_ROWS)
    order = torch.randperm(len(rows.labels), generator=torch.Generator().manual_seed(0))
    sample = order[:count].sort().values
    features = torch.cat([rows.features[sample], trusted.features])
    is_trusted = (torch.arange(len(features)) >= count).long()
    groups = torch.cat([rows.group_ids[sample], rows.group_ids.max() + 1 + trusted.group_ids])
    both = LabeledData(features, is_trusted, 2, groups)
    logits = replace(cross_fitter, repeats=1)(both, one_hot(is_trusted, 2).float())
    ranks = rankdata((logits[:, 1] - logits[:, 0]).numpy())[is_trusted.bool().numpy()]
    # Mann and Whitney's statistic
    return float((ranks.mean() - (len(ranks) + 1) / 2) / count)


def _simulate_labels(
    labels: Int[Tensor, " m"], transition: Float[Tensor, "c c"]
) -> list[Int[Tensor, " m"]]:
    """Draw given labels from T, [m] each; without those of hardly any wrong label."""
    draws = []
    for seed in range(SIMULATIONS):
        generator = torch.Generator().manual_seed(seed)
        given = torch.multinomial(transition[labels], 1, generator=generator)[:, 0]
        if MIN_FLIPS <= int((given != labels).sum()) < len(labels):
            draws.append(given)
    return draws


def _rank_errors(labels: Tensor, given: Tensor, p: Tensor, transition: Tensor) -> float:
    """Average precision of the error probabilities of simulated labels."""
    others = compute_posterior(p, given, transition).scatter(1, given[:, None], 0.0).sum(1)
    is_wrong = (given != labels)[others.argsort(descending=True, stable=True)]
    precision = is_wrong.cumsum(0) / torch.arange(1, len(labels) + 1)
    return float(precision[is_wrong].mean())
