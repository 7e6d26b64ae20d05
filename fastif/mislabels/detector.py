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
   aside for the question (`second_round_improves`), and nobody but the heads would count twice.

1 - p(y | x, y) is the probability that the label is wrong. Where rows of certain label are given,
the first heads are fitted to them alone. Where rows were drawn at random and looked at, their
verdicts recalibrate it and count the errors (`RandomAudit`).

The class-conditional noise of step 2 is that of Dawid and Skene (1979) with one annotator, the
cross-fitting that of confident learning (Northcutt and others, 2021).
"""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.calibration import calibrate_logits, stack_logits
from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.knn import find_neighbours, smooth_logits
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import LabeledData, TrustedData
from fastif.mislabels.linear_head import HeadFitter, fit_linear_head
from fastif.mislabels.naive_bayes import NaiveBayes
from fastif.mislabels.noise_model import (
    compute_posterior,
    fit_joint_mle,
    fit_noise_model,
    fit_transition_em,
    make_initial_transition,
    shrink_to_symmetric,
)
from fastif.mislabels.opinion_pool import pool_opinions
from fastif.mislabels.posterior_summary import make_label_posterior
from fastif.mislabels.scores import compute_label_scores
from fastif.mislabels.second_round_check import second_round_improves

NAIVE_BAYES_SCORES = ("word_loss", "letter_loss")
"""Signals of naive Bayes, by the kind of terms that it counts."""

TRUSTED_TEMPER = 0.5
"""With trusted rows the classifier is right by itself, and classes' noise is trusted half."""


@dataclass(frozen=True)
class MislabelDetector:
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
    fit: HeadFitter = fit_linear_head

    def __call__(
        self,
        rows: LabeledData,
        trusted: TrustedData | None = None,
        neighbour_ids: Int[Tensor, "n k"] | None = None,
    ) -> LabelPosterior:
        """What is believed of the labels of rows.

        Args:
            rows: to be judged.
            trusted: rows of certain label.
            neighbour_ids: of each row the positions of those most like it; searched if left out.

        Raises:
            InputError: a single group of rows.
        """
        second_round = False
        if neighbour_ids is None:
            neighbour_ids = find_neighbours(rows.features, self.neighbours)
        given_one_hot = one_hot(rows.labels, rows.classes).float()
        first_logits = self._cross_fitter(rows, given_one_hot)
        in_sample = self.fit(rows.features, given_one_hot, self.penalty, rows.weights)
        label_scores = compute_label_scores(
            rows.features, rows.labels, first_logits, in_sample, neighbour_ids, self.penalty
        )
        naive_bayes = NaiveBayes(self.folds, self.repeats, self.seed)
        term_logits = {
            name: naive_bayes(terms, rows, given_one_hot)
            for name, terms in zip(NAIVE_BAYES_SCORES, rows.terms, strict=False)
        }
        classifier_logits = (
            {} if rows.classifier_logits is None else {"judged_loss": rows.classifier_logits}
        )
        for name, logits in {**term_logits, **classifier_logits}.items():
            label_scores[name] = -logits.log_softmax(1).gather(1, rows.labels[:, None])[:, 0]
        if trusted is None:
            second_round = self._needs_second_round(rows, neighbour_ids)
            p, posteriors, transition = self._fit_without_trusted(
                rows, first_logits, [*term_logits.values()], neighbour_ids, second_round
            )
        else:
            p, posteriors, transition = self._fit_with_trusted(rows, trusted)
            given_probability = posteriors[0].gather(1, rows.labels[:, None])[:, 0]
            label_scores["trusted_loss"] = -given_probability.clamp_min(1e-30).log()
        result = make_label_posterior(
            rows, p, posteriors, transition, first_logits, neighbour_ids, label_scores, second_round
        )
        return replace(result, trusted=trusted is not None)

    @property
    def settings(self) -> dict[str, object]:
        """All that decides an answer."""
        return {
            field.name: getattr(self, field.name) for field in fields(self) if field.name != "fit"
        }

    def with_one_partition(self, again: bool) -> "MislabelDetector":
        """The same with one partition, for questions about the procedure itself."""
        return replace(self, repeats=1, again=again)

    def _needs_second_round(self, rows: LabeledData, neighbour_ids: Int[Tensor, "n k"]) -> bool:
        """Whether heads are fitted to beliefs; what another classifier said is in these already."""
        if rows.classifier_logits is not None:
            return False
        return (
            second_round_improves(rows, neighbour_ids, self._cross_fitter)
            if self.again is None
            else self.again
        )

    def _fit_without_trusted(
        self,
        rows: LabeledData,
        first_logits: Float[Tensor, "n c"],
        term_logits: list[Float[Tensor, "n c"]],
        neighbour_ids: Int[Tensor, "n k"],
        second_round: bool,
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """p(t | x), beliefs without what was seen, and the noise, from the labels themselves.

        Args:
            rows: to be judged.
            first_logits: cross-fitted logits for the labels as given.
            term_logits: logits by terms that are counted.
            neighbour_ids: neighbours.
            second_round: whether heads are fitted to the beliefs too.
        """
        head_logits = first_logits
        if rows.classifier_logits is not None:
            head_logits = stack_logits(
                [(first_logits, first_logits), (rows.classifier_logits, rows.classifier_logits)],
                rows.labels,
            )
        p, class_posterior, transition, posteriors = self._pool_and_fit_noise(
            rows, [head_logits, *term_logits], neighbour_ids
        )
        if second_round:
            second_logits = self._cross_fitter(rows, rows.clamp_to_known(class_posterior))
            p, class_posterior, transition, second_posteriors = self._pool_and_fit_noise(
                rows, [second_logits, *term_logits], neighbour_ids
            )
            posteriors += second_posteriors
        return p, [*posteriors, class_posterior], transition

    def _pool_and_fit_noise(
        self,
        rows: LabeledData,
        member_logits: list[Float[Tensor, "n c"]],
        neighbour_ids: Int[Tensor, "n k"],
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """p(t | x), the belief and the noise by several judges, and beliefs to count by."""
        logits = (
            member_logits[0]
            if len(member_logits) == 1
            else pool_opinions(member_logits, rows.labels)
        )
        smoothed = smooth_logits(logits, logits, neighbour_ids)
        p, transition = fit_noise_model(smoothed, rows.labels, rows.known_one_hot)
        joint_fits = [fit_joint_mle(z, rows.labels, rows.known_one_hot) for z in (logits, smoothed)]
        posteriors = [
            compute_posterior(q, rows.labels, matrix)
            for q, matrix in (*joint_fits, (p, transition))
        ]
        return p, posteriors[-1], transition, posteriors

    def _fit_with_trusted(
        self, rows: LabeledData, trusted: TrustedData
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """p(t | x), beliefs, and the noise, with rows of certain label.

        Beliefs are those by heads that have seen such rows, by these and the labels, and half by
        each. Noise that follows the text shows in the first alone, noise that follows the class in
        the second.
        """
        trusted_one_hot = one_hot(trusted.labels, rows.classes).float()
        trusted_logits = self._predict_from_trusted(rows, trusted, trusted_one_hot)
        if rows.classifier_logits is not None:
            trusted_logits = (
                trusted_logits + calibrate_logits(rows.classifier_logits, rows.labels)
            ) / 2
        start, known_one_hot = make_initial_transition(rows.classes), rows.known_one_hot
        transition = fit_transition_em(
            trusted_logits.softmax(1), rows.labels, start, known_one_hot=known_one_hot
        )
        class_posterior = rows.clamp_to_known(
            compute_posterior(trusted_logits.softmax(1), rows.labels, transition)
        )
        p = (
            (
                trusted_logits
                + self._predict_from_both(rows, class_posterior, trusted, trusted_one_hot)
            )
            / 2
        ).softmax(1)
        transition = fit_transition_em(
            p, rows.labels, start, known_one_hot=known_one_hot, temper=TRUSTED_TEMPER
        )
        transition = shrink_to_symmetric(transition, TRUSTED_TEMPER)
        noise_posterior = compute_posterior(p, rows.labels, transition)
        geometric_mean = (p * noise_posterior).sqrt()
        mean_posterior = geometric_mean / geometric_mean.sum(1, keepdim=True)
        return p, [p, noise_posterior, mean_posterior], transition

    def _predict_from_trusted(
        self, rows: LabeledData, trusted: TrustedData, trusted_one_hot: Tensor
    ) -> Tensor:
        """Logits of a head that has seen trusted rows alone, of the temperature that suits them."""
        head = self.fit(trusted.features, trusted_one_hot, self.penalty)
        trusted_folds = assign_group_folds(
            torch.arange(len(trusted_one_hot)), self.folds, self.seed
        )
        held_out_logits = torch.empty_like(trusted_one_hot)
        for fold in trusted_folds.unique():
            held_out = trusted_folds == fold
            held_out_logits[held_out] = self.fit(
                trusted.features[~held_out], trusted_one_hot[~held_out], self.penalty
            )(trusted.features[held_out])
        return stack_logits([(head(rows.features), held_out_logits)], trusted.labels)

    def _predict_from_both(
        self,
        rows: LabeledData,
        class_posterior: Tensor,
        trusted: TrustedData,
        trusted_one_hot: Tensor,
    ) -> Tensor:
        """Cross-fitted logits of judges that have seen trusted rows and what rows are believed."""
        row_folds = assign_group_folds(rows.group_ids, self.folds, self.seed)
        trusted_folds = assign_group_folds(
            torch.arange(len(trusted_one_hot)), self.folds, self.seed
        )
        logits, trusted_logits = (
            torch.empty_like(class_posterior),
            torch.zeros_like(trusted_one_hot),
        )
        for fold in row_folds.unique():
            rows_held_out, trusted_held_out = row_folds == fold, trusted_folds == fold
            head = self.fit(
                torch.cat([rows.features[~rows_held_out], trusted.features[~trusted_held_out]]),
                torch.cat([class_posterior[~rows_held_out], trusted_one_hot[~trusted_held_out]]),
                self.penalty,
                torch.cat(
                    [rows.weights[~rows_held_out], torch.ones(int((~trusted_held_out).sum()))]
                ),
            )
            logits[rows_held_out], trusted_logits[trusted_held_out] = (
                head(rows.features[rows_held_out]),
                head(trusted.features[trusted_held_out]),
            )
        naive_bayes = NaiveBayes(self.folds, 1, self.seed)
        term_logits = [
            naive_bayes.cross_fit_with_trusted(terms, rows, class_posterior, trusted)
            for terms in zip(rows.terms, trusted.terms, strict=False)
        ]
        return stack_logits([(logits, trusted_logits), *term_logits], trusted.labels)

    @property
    def _cross_fitter(self) -> CrossFitter:
        return CrossFitter(self.folds, self.repeats, self.penalty, self.seed, self.fit)
