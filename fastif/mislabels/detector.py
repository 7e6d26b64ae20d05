"""Which labels are probably wrong: one fixed procedure, without true labels.

A classifier that was fitted to a wrong label defends it. So every row is judged by heads that have
not seen it, and what they find is used to fit them again:

1. heads on fixed features, cross-fitted to what the labels are believed to be, stacked with a
   classifier of the study's own if there is one, pooled with what counts words and letters, their
   logits meaned with those of the rows most like it;
2. p(t | x) from these and how often a class is labelled as another, found together as those under
   which the given labels are likeliest; from both p(t | x, y), the belief that row x labelled y is
   of class t;
3. again from 1 with this belief as the target, where that explains labels better that were put
   aside for the question (`another_round_pays`), and nobody but the heads would count twice.

1 - p(y | x, y) is the probability that the label is wrong. Where rows of certain label are given,
the first heads are fitted to them alone. Where rows were drawn at random and looked at, their
verdicts recalibrate it and count the errors (`Sample`).

The class-conditional noise of step 2 is that of Dawid and Skene (1979) with one annotator, the
cross-fitting that of confident learning (Northcutt and others, 2021).
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.cross_fitting import Crossing
from fastif.mislabels.group_folds import folds
from fastif.mislabels.knn import among, neighbours
from fastif.mislabels.label_posterior import Suspicions
from fastif.mislabels.labeled_data import Rows, Trusted
from fastif.mislabels.linear_head import (
    FitHead,
    calibrated,
    fit_head,
    stacked,
)
from fastif.mislabels.naive_bayes import NaiveBayes
from fastif.mislabels.noise_model import (
    assumed,
    estimated,
    jointly,
    likeliest,
    posterior,
    skill_of,
    tempered_noise,
)
from fastif.mislabels.opinion_pool import pooled
from fastif.mislabels.scores import signals_of
from fastif.mislabels.second_round_check import another_round_pays

COUNTED = ("word_loss", "letter_loss")
"""Signals of naive Bayes, by the kind of terms that it counts."""

TRUSTED_TEMPER = 0.5
"""With trusted rows the classifier is right by itself, and classes' noise is trusted half."""


@dataclass(frozen=True)
class Detector:
    """The procedure of this module; the same numbers for every data set.

    Attributes:
        folds: a row is judged by heads fitted to the other folds.
        repeats: partitions into folds that are averaged.
        neighbours: rows whose judgement counts as much as the row's own.
        penalty: of the heads' squared weights.
        seed: of the folds.
        again: whether heads are fitted to beliefs as well; asked of the rows if None.
        fit: fits the heads.
    """

    folds: int = 5
    repeats: int = 2
    neighbours: int = 20
    penalty: float = 1e-3
    seed: int = 0
    again: bool | None = None
    fit: FitHead = fit_head

    def __call__(
        self, rows: Rows, trusted: Trusted | None = None, near: Int[Tensor, "n k"] | None = None
    ) -> Suspicions:
        """What is believed of the labels of rows.

        Args:
            rows: to be judged.
            trusted: rows of certain label.
            near: of each row the positions of those most like it; searched if left out.

        Raises:
            InputError: a single group of rows.
        """
        again = False
        near = neighbours(rows.features, self.neighbours) if near is None else near
        given = one_hot(rows.labels, rows.classes).float()
        first = self._crossed(rows, given)
        in_sample = self.fit(rows.features, given, self.penalty, rows.weights)
        signals = signals_of(rows.features, rows.labels, first, in_sample, near, self.penalty)
        counting = NaiveBayes(self.folds, self.repeats, self.seed)
        counted = {
            name: counting(terms, rows, given)
            for name, terms in zip(COUNTED, rows.terms, strict=False)
        }
        own = {} if rows.judged is None else {"judged_loss": rows.judged}
        for name, logits in {**counted, **own}.items():
            signals[name] = -logits.log_softmax(1).gather(1, rows.labels[:, None])[:, 0]
        if trusted is None:
            again = self._again(rows, near)
            p, beliefs, noise = self._alone(rows, first, [*counted.values()], near, again)
        else:
            p, beliefs, noise = self._with_trusted(rows, trusted)
            told = beliefs[0].gather(1, rows.labels[:, None])[:, 0]
            signals["trusted_loss"] = -told.clamp_min(1e-30).log()
        found = _suspicions(rows, p, beliefs, noise, first, near, signals, again)
        return replace(found, trusted=trusted is not None)

    @property
    def numbers(self) -> dict[str, object]:
        """All that decides an answer."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "fit"}

    def quick(self, again: bool) -> "Detector":
        """The same with one partition, for questions about the procedure itself."""
        return replace(self, repeats=1, again=again)

    def _again(self, rows: Rows, near: Int[Tensor, "n k"]) -> bool:
        """Whether heads are fitted to beliefs; what another classifier said is in these already."""
        if rows.judged is not None:
            return False
        return another_round_pays(rows, near, self._crossed) if self.again is None else self.again

    def _alone(
        self,
        rows: Rows,
        first: Float[Tensor, "n c"],
        counted: list[Float[Tensor, "n c"]],
        near: Int[Tensor, "n k"],
        again: bool,
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """p(t | x), beliefs without what was seen, and the noise, from the labels themselves.

        Args:
            rows: to be judged.
            first: cross-fitted logits for the labels as given.
            counted: logits by terms that are counted.
            near: neighbours.
            again: whether heads are fitted to the beliefs too.
        """
        fitted = first
        if rows.judged is not None:
            fitted = stacked([(first, first), (rows.judged, rows.judged)], rows.labels)
        p, belief, noise, told = self._weighed(rows, [fitted, *counted], near)
        if again:
            second = self._crossed(rows, rows.held(belief))
            p, belief, noise, more = self._weighed(rows, [second, *counted], near)
            told += more
        return p, [*told, belief], noise

    def _weighed(
        self, rows: Rows, several: list[Float[Tensor, "n c"]], near: Int[Tensor, "n k"]
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """p(t | x), the belief and the noise by several judges, and beliefs to count by."""
        logits = several[0] if len(several) == 1 else pooled(several, rows.labels)
        around = among(logits, logits, near)
        p, noise = likeliest(around, rows.labels, rows.certain)
        found = [jointly(z, rows.labels, rows.certain) for z in (logits, around)]
        beliefs = [posterior(q, rows.labels, of) for q, of in (*found, (p, noise))]
        return p, beliefs[-1], noise, beliefs

    def _with_trusted(self, rows: Rows, trusted: Trusted) -> tuple[Tensor, list[Tensor], Tensor]:
        """p(t | x), beliefs, and the noise, with rows of certain label.

        Beliefs are those by heads that have seen such rows, by these and the labels, and half by
        each. Noise that follows the text shows in the first alone, noise that follows the class in
        the second.
        """
        sure = one_hot(trusted.labels, rows.classes).float()
        alone = self._from_trusted(rows, trusted, sure)
        if rows.judged is not None:
            alone = (alone + calibrated(rows.judged, rows.labels)) / 2
        start, known = assumed(rows.classes), rows.certain
        noise = estimated(alone.softmax(1), rows.labels, start, known=known)
        belief = rows.held(posterior(alone.softmax(1), rows.labels, noise))
        p = ((alone + self._from_both(rows, belief, trusted, sure)) / 2).softmax(1)
        noise = estimated(p, rows.labels, start, known=known, temper=TRUSTED_TEMPER)
        noise = tempered_noise(noise, TRUSTED_TEMPER)
        weighed = posterior(p, rows.labels, noise)
        mixed = (p * weighed).sqrt()
        both = mixed / mixed.sum(1, keepdim=True)
        return p, [p, weighed, both], noise

    def _from_trusted(self, rows: Rows, trusted: Trusted, sure: Tensor) -> Tensor:
        """Logits of a head that has seen trusted rows alone, of the temperature that suits them."""
        head = self.fit(trusted.features, sure, self.penalty)
        within = folds(torch.arange(len(sure)), self.folds, self.seed)
        seen = torch.empty_like(sure)
        for fold in within.unique():
            away = within == fold
            seen[away] = self.fit(trusted.features[~away], sure[~away], self.penalty)(
                trusted.features[away]
            )
        return stacked([(head(rows.features), seen)], trusted.labels)

    def _from_both(self, rows: Rows, belief: Tensor, trusted: Trusted, sure: Tensor) -> Tensor:
        """Cross-fitted logits of judges that have seen trusted rows and what rows are believed."""
        parts = folds(rows.together, self.folds, self.seed)
        within = folds(torch.arange(len(sure)), self.folds, self.seed)
        logits, seen = torch.empty_like(belief), torch.zeros_like(sure)
        for fold in parts.unique():
            away, out = parts == fold, within == fold
            head = self.fit(
                torch.cat([rows.features[~away], trusted.features[~out]]),
                torch.cat([belief[~away], sure[~out]]),
                self.penalty,
                torch.cat([rows.weights[~away], torch.ones(int((~out).sum()))]),
            )
            logits[away], seen[out] = head(rows.features[away]), head(trusted.features[out])
        counting = NaiveBayes(self.folds, 1, self.seed)
        counted = [
            counting.with_trusted(both, rows, belief, trusted)
            for both in zip(rows.terms, trusted.terms, strict=False)
        ]
        return stacked([(logits, seen), *counted], trusted.labels)

    @property
    def _crossed(self) -> Crossing:
        return Crossing(self.folds, self.repeats, self.penalty, self.seed, self.fit)


def _suspicions(
    rows: Rows,
    p: Tensor,
    beliefs: list[Tensor],
    noise: Tensor,
    crossed: Tensor,
    near: Tensor,
    signals: dict[str, Tensor],
    again: bool,
) -> Suspicions:
    doubt = _wrong(rows, beliefs[-1])
    sample = rows.sample(doubt)
    doubted, sampled = beliefs[-1], None
    if sample is not None:
        doubted = _doubted(rows, doubted, sample.recalibrated())
        sampled = tuple(sample.errors(label) for label in (*range(rows.classes), None))
    belief = rows.held(doubted)
    wrong = _wrong(rows, belief)
    # By the features alone: how often classes are taken for each other is known less well, and
    # would pull the suggestion to the pairs that are.
    by_features = rows.held(p)
    best, suggested = by_features.scatter(1, rows.labels[:, None], -1).max(1)
    given = one_hot(rows.labels, rows.classes).float()
    counts = torch.stack([_wrong(rows, rows.held(found)) @ given for found in beliefs])
    confidence = best / _wrong(rows, by_features).clamp_min(1e-30)
    skill = skill_of(crossed, rows.labels)
    told = (belief, wrong, doubt, suggested, confidence)
    return Suspicions(*told, noise, near, counts, skill, signals, again, sampled)


def _doubted(rows: Rows, belief: Tensor, doubt: Tensor) -> Tensor:
    """The belief with another probability of a wrong label; other classes in the same shares."""
    others = belief.scatter(1, rows.labels[:, None], 0.0)
    scaled = others * (doubt / others.sum(1).clamp_min(1e-30))[:, None]
    return scaled.scatter(1, rows.labels[:, None], (1 - doubt)[:, None])


def _wrong(rows: Rows, belief: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Sum of the other classes, and not 1 - own, which is rounded to 0 where the label is sure."""
    return belief.scatter(1, rows.labels[:, None], 0.0).sum(1)
