"""What is believed of labels, and how many are expected to be wrong."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.noise_model import compute_shrinkage
from fastif.mislabels.random_audit import Z90, CountEstimate


@dataclass(frozen=True, eq=False)
class LabelPosterior:
    """What is believed of each row's label.

    Attributes:
        posterior: in each class, p(t | x, y); of rows that were looked at what was seen.
        probability: that the given label is wrong, 1 - belief in it.
        prior_error: the same by labels and features alone, whatever people have said of the row or
            drawn.
        suggested: the class but the given one that features make likeliest.
        confidence: their probability of it, of all that is not in the given label.
        transition: how often a class (row) is labelled as another (column).
        neighbour_ids: positions of the rows most like each.
        error_counts: expected wrong labels of each given label, by every way in which the procedure
            counts them; the last is the sum of the probabilities.
        pseudo_r2: share of the given labels' uncertainty that features of other rows take away;
            near 0 nothing can be said.
        label_scores: what was found on the way, by name; larger is more suspicious.
        second_round: whether heads were fitted to beliefs, since that explained labels put aside.
        audited_counts: wrong labels of each given label, and of all, by rows that were drawn at
            random and looked at; None without enough of them. The probabilities agree with it.
        trusted: whether rows of certain label were given.
    """

    posterior: Float[Tensor, "n c"]
    probability: Float[Tensor, " n"]
    prior_error: Float[Tensor, " n"]
    suggested: Int[Tensor, " n"]
    confidence: Float[Tensor, " n"]
    transition: Float[Tensor, "c c"]
    neighbour_ids: Int[Tensor, "n k"]
    error_counts: Float[Tensor, "w c"]
    pseudo_r2: float
    label_scores: dict[str, Float[Tensor, " n"]]
    second_round: bool = False
    audited_counts: tuple[CountEstimate, ...] | None = None
    trusted: bool = False

    def estimate_errors(self, label: int | None = None) -> CountEstimate | None:
        """Expected wrong labels, of one given label or of all, with a 90 % interval.

        By rows that were drawn at random where there are enough, else by what heads say that have
        seen rows of certain label. None without either: labels and features alone cannot tell how
        many are wrong, see `estimate_modelled_errors`.
        """
        if self.audited_counts is not None:
            return self.audited_counts[-1 if label is None else label]
        return self.estimate_modelled_errors(label) if self.trusted else None

    def estimate_modelled_errors(self, label: int | None = None) -> CountEstimate:
        """Expected wrong labels under the model of the noise; no count of all errors.

        It spans what the ways of counting say, each give or take chance. Where features say too
        little to tell doubt from noise, its low end falls with what they say. Wrong labels that
        the features predict, as when all annotators fall for the same words, are in none of it.
        """
        estimates = self.error_counts.sum(1) if label is None else self.error_counts[:, label]
        margin = Z90 * estimates.clamp_min(0).sqrt()
        low, high = (estimates - margin).min().clamp_min(0), (estimates + margin).max()
        low = low * compute_shrinkage(self.pseudo_r2)
        return CountEstimate(float(estimates[-1]), float(low), float(high))
