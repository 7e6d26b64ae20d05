"""Label posteriors of a table, and estimates of its number of label errors."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.external_classifier import ClassifierTrust
from fastif.mislabels.random_audit import CountEstimate
from fastif.mislabels.trusted_comparison import TrustedComparison


@dataclass(frozen=True, eq=False)
class LabelPosterior:
    """Label posterior of n rows with c classes, and what it was computed from.

    Attributes:
        posterior: p(true class | features, given label) after reviews, [n, c]; a reviewed row has
            its reviewed label.
        probability: Error probability of each given label, 1 - p(y | x, y), after reviews, [n].
        prior_error: Error probability before reviews: without annotations of the row itself and
            without recalibration on a random audit sample, [n]. Column `doubt` of tables.
        suggested: Most probable class other than the given one, by features alone, [n].
        confidence: Probability of `suggested` by features, as a fraction of all classes but the
            given one, in [0, 1], [n].
        transition: Noise transition matrix, T[t, y] = p(given label y | true class t), [c, c].
        neighbour_ids: Positions of each row's k nearest neighbours, [n, k].
        pseudo_r2: Pseudo-R² of the given labels by out-of-fold logits, in [0, 1]; near 0 the
            features do not predict the labels, and the ranking means little.
        label_scores: Other detectors' scores by name, [n] each; a larger score is more suspicious.
        second_round: Whether the heads were fitted to soft targets in a second round.
        audited_counts: Estimated errors of each given label and, last, of all, from the random
            audit sample; None with fewer than 30 sampled rows.
        comparison: Detection of simulated wrong labels with and without the trusted rows, which
            decides whether they are used; None if none were given.
        external: Estimated reliability of the external classifiers, in their order.
        informed: Whether anything but chance is behind the ranking: features that predict
            the labels better than the class shares, another classifier, or trusted rows.
    """

    posterior: Float[Tensor, "n c"]
    probability: Float[Tensor, " n"]
    prior_error: Float[Tensor, " n"]
    suggested: Int[Tensor, " n"]
    confidence: Float[Tensor, " n"]
    transition: Float[Tensor, "c c"]
    neighbour_ids: Int[Tensor, "n k"]
    pseudo_r2: float
    label_scores: dict[str, Float[Tensor, " n"]]
    second_round: bool = False
    audited_counts: tuple[CountEstimate, ...] | None = None
    comparison: TrustedComparison | None = None
    external: tuple[ClassifierTrust, ...] = ()
    informed: bool = True

    @property
    def trusted(self) -> bool:
        """Whether trusted rows were used."""
        return self.comparison is not None and self.comparison.is_better

    def estimate_errors(self, label: int | None = None) -> CountEstimate | None:
        """Estimate the number of wrong labels from the random audit sample.

        Labels, features and trusted rows do not identify the number: errors that the features
        predict, such as those of an annotation rule that follows a keyword, look right to every
        classifier. So there is no estimate without a sample; see `RandomAudit.estimate_errors`.

        Args:
            label: Given label to count errors of, a class index; None counts all.

        Returns:
            The estimate; None without an audit sample.
        """
        if self.audited_counts is None:
            return None
        return self.audited_counts[-1 if label is None else label]
