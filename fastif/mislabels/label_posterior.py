"""What is believed of labels, and how many are expected to be wrong."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.noise_model import sureness
from fastif.mislabels.random_audit import Z90, Errors


@dataclass(frozen=True, eq=False)
class Suspicions:
    """What is believed of each row's label.

    Attributes:
        belief: in each class, p(t | x, y); of rows that were looked at what was seen.
        probability: that the given label is wrong, 1 - belief in it.
        doubt: the same by labels and features alone, whatever people have said of the row or drawn.
        suggested: the class but the given one that features make likeliest.
        confidence: their probability of it, of all that is not in the given label.
        noise: how often a class (row) is labelled as another (column).
        near: positions of the rows most like each.
        counts: expected wrong labels of each given label, by every way in which the procedure
            counts them; the last is the sum of the probabilities.
        skill: share of the given labels' uncertainty that features of other rows take away; near 0
            nothing can be said.
        signals: what was found on the way, by name; larger is more suspicious.
        again: whether heads were fitted to beliefs, since that explained labels put aside.
        sampled: wrong labels of each given label, and of all, by rows that were drawn at random and
            looked at; None without enough of them. The probabilities agree with it.
        trusted: whether rows of certain label were given.
    """

    belief: Float[Tensor, "n c"]
    probability: Float[Tensor, " n"]
    doubt: Float[Tensor, " n"]
    suggested: Int[Tensor, " n"]
    confidence: Float[Tensor, " n"]
    noise: Float[Tensor, "c c"]
    near: Int[Tensor, "n k"]
    counts: Float[Tensor, "w c"]
    skill: float
    signals: dict[str, Float[Tensor, " n"]]
    again: bool = False
    sampled: tuple[Errors, ...] | None = None
    trusted: bool = False

    def errors(self, label: int | None = None) -> Errors | None:
        """Expected wrong labels, of one given label or of all, with a 90 % interval.

        By rows that were drawn at random where there are enough, else by what heads say that have
        seen rows of certain label. None without either: labels and features alone cannot tell how
        many are wrong, see `modelled`.
        """
        if self.sampled is not None:
            return self.sampled[-1 if label is None else label]
        return self.modelled(label) if self.trusted else None

    def modelled(self, label: int | None = None) -> Errors:
        """Expected wrong labels under the model of the noise; no count of all errors.

        It spans what the ways of counting say, each give or take chance. Where features say too
        little to tell doubt from noise, its low end falls with what they say. Wrong labels that
        the features predict, as when all annotators fall for the same words, are in none of it.
        """
        ways = self.counts.sum(1) if label is None else self.counts[:, label]
        chance = Z90 * ways.clamp_min(0).sqrt()
        low, high = (ways - chance).min().clamp_min(0), (ways + chance).max()
        low = low * sureness(self.skill)
        return Errors(float(ways[-1]), float(low), float(high))
