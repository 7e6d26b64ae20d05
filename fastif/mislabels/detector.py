"""Mislabel detection by cross-fitting and a class-conditional noise model, without true labels."""

from dataclasses import dataclass, fields, replace

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.calibration import stack_logits
from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.external_evidence import add_external_evidence
from fastif.mislabels.identical_rows import pool_identical_labels
from fastif.mislabels.knn import find_neighbours, smooth_logits
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import LabeledData, TrustedData
from fastif.mislabels.linear_head import HeadFitter, fit_linear_head
from fastif.mislabels.naive_bayes import NaiveBayes
from fastif.mislabels.noise_model import fit_noise_model
from fastif.mislabels.opinion_pool import pool_opinions
from fastif.mislabels.posterior_summary import has_information, make_label_posterior
from fastif.mislabels.scores import compute_label_scores
from fastif.mislabels.second_round_check import second_round_improves
from fastif.mislabels.trusted_comparison import compare_trusted
from fastif.mislabels.trusted_fit import TrustedFitter

NAIVE_BAYES_SCORES = ("word_loss", "letter_loss")
"""Score columns of naive Bayes: word n-grams, then character n-grams, in the order of the terms."""


@dataclass(frozen=True)
class MislabelDetector:
    """Mislabel detection: p(true class | features, given label) of every row, by cross-fitting.

    A classifier that was trained on a wrong label reproduces it. So the probabilities are
    out-of-fold, as in confident learning (Northcutt et al., 2021):

    1. Linear heads on fixed features are cross-fitted to the given labels, and stacked with another
       classifier if there is one. A linear opinion pool adds multinomial naive Bayes on word and
       character n-grams. kNN smoothing averages the logits with those of the nearest rows.
    2. Maximum likelihood fits the calibration of p(t | x) and the noise transition matrix T
       together, with T[t, y] = p(given label y | true class t) (Dawid and Skene, 1979, with one
       annotator). Bayes' rule yields the posterior and the error probability of the label:

            p(t | x, y) = p(t | x) T[t, y] / Σ_s p(s | x) T[s, y]
            error probability = 1 - p(y | x, y)

    3. Step 1 is repeated with the posterior as soft targets, unless this lowers the likelihood of
       held-out labels, or the evidence of another classifier would count twice.

    With trusted rows, p(t | x) is fitted to these instead (`TrustedFitter`), if they improve the
    detection of simulated wrong labels among them (`compare_trusted`). With a random audit sample,
    the error probabilities are recalibrated on it, and it yields the number of errors
    (`RandomAudit`).
    The defaults are the same for every data set; no true labels are needed.

    Attributes:
        folds: Number of cross-fitting folds.
        repeats: Number of partitions into folds; logits are averaged over these.
        neighbours: Number k of neighbours of the kNN smoothing; their weight together grows with
            the number of classes, from 0 for two.
        penalty: L2 penalty λ on the weights of the linear heads, ½ λ ‖W‖².
        seed: Random seed of the fold assignments.
        again: Whether to fit a second round; None decides by a held-out likelihood test.
        fit: Function that fits a head; see `fit_linear_head`.

    Examples:
        >>> import torch
        >>> from fastif.mislabels import LabeledData, MislabelDetector
        >>> features = torch.tensor([[-1.0, 0.1], [1.0, -0.1]]).repeat(20, 1)
        >>> labels = torch.tensor([0, 1]).repeat(20)
        >>> labels[6] = 1  # an injected label flip
        >>> result = MislabelDetector()(LabeledData(features, labels, classes=2))
        >>> int(result.probability.argmax()), int(result.suggested[6])
        (6, 0)
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
        """Return the label posterior of every row.

        Args:
            rows: Features and given labels of n rows.
            trusted: Rows with trusted labels; None if there are none.
            neighbour_ids: Positions of each row's k nearest rows, [n, k]; None searches them by
                cosine.

        Returns:
            Posterior, error probabilities, suggested labels and scores of the n rows.

        Raises:
            InputError: All rows are in one group, so that there is nothing to cross-fit on.
        """
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
        for name, logits in term_logits.items():
            label_scores[name] = -logits.log_softmax(1).gather(1, rows.labels[:, None])[:, 0]
        second_round = self._needs_second_round(rows, neighbour_ids)
        members = [first_logits, *term_logits.values()]
        fit = self._fit_without_trusted(rows, members[0], members[1:], neighbour_ids, second_round)
        comparison = None
        if trusted is not None:
            fitted = TrustedFitter(self.folds, self.seed, self.penalty, self.fit)(rows, trusted)
            comparison = compare_trusted(rows, trusted, fit[1], fitted, self._cross_fitter)
            label_scores["trusted_loss"] = fitted.compute_loss(rows.labels)
            if comparison.is_better:
                fit, second_round = (fitted.p, fitted.posterior, fitted.transition), False
        p, posterior, external, scores = add_external_evidence(rows, *fit)
        label_scores |= scores
        result = make_label_posterior(
            rows, p, posterior, fit[2], first_logits, neighbour_ids, label_scores, second_round
        )
        result = replace(result, comparison=comparison, external=external)
        informed = result.trusted or has_information(rows, external, members)
        return replace(result, informed=informed)

    @property
    def settings(self) -> dict[str, object]:
        """Settings that change a result, by name; part of the cache key."""
        return {
            field.name: getattr(self, field.name) for field in fields(self) if field.name != "fit"
        }

    def with_one_partition(self, again: bool) -> "MislabelDetector":
        """Return this detector with one partition into folds, and a second round or not."""
        return replace(self, repeats=1, again=again)

    def _needs_second_round(self, rows: LabeledData, neighbour_ids: Int[Tensor, "n k"]) -> bool:
        """Whether to fit a second round; never with a classifier, or its evidence counts twice."""
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
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fit p(t | x), the label posterior before reviews, and T to the given labels alone."""
        head_logits = first_logits
        if rows.classifier_logits is not None:
            head_logits = stack_logits(
                [(first_logits, first_logits), (rows.classifier_logits, rows.classifier_logits)],
                rows.labels,
            )
        p, class_posterior, transition = self._pool_and_fit_noise(
            rows, [head_logits, *term_logits], neighbour_ids
        )
        if second_round:
            second_logits = self._cross_fitter(rows, rows.clamp_to_known(class_posterior))
            p, class_posterior, transition = self._pool_and_fit_noise(
                rows, [second_logits, *term_logits], neighbour_ids
            )
        return p, class_posterior, transition

    def _pool_and_fit_noise(
        self,
        rows: LabeledData,
        member_logits: list[Float[Tensor, "n c"]],
        neighbour_ids: Int[Tensor, "n k"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pool classifiers and fit the noise model: p(t | x), posterior and T."""
        logits = (
            member_logits[0]
            if len(member_logits) == 1
            else pool_opinions(member_logits, rows.labels)
        )
        smoothed = smooth_logits(logits, logits, neighbour_ids)
        model = fit_noise_model(
            smoothed, rows.labels, rows.known_one_hot, logits, rows.evidence_weights
        )
        posterior = pool_identical_labels(model.posterior, rows, model.transition)
        return model.p, posterior, model.transition

    @property
    def _cross_fitter(self) -> CrossFitter:
        return CrossFitter(self.folds, self.repeats, self.penalty, self.seed, self.fit)
