"""Classifiers that learn from trusted rows: fitted to these alone, and together with the table."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.calibration import calibrate_logits, stack_logits
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.identical_rows import compute_pooled_posterior
from fastif.mislabels.labeled_data import LabeledData, TrustedData
from fastif.mislabels.linear_head import HeadFitter
from fastif.mislabels.naive_bayes import NaiveBayes
from fastif.mislabels.noise_model import (
    fit_transition_em,
    make_initial_transition,
    shrink_to_symmetric,
)

TRUSTED_TEMPER = 0.5
"""Shrinkage weight of T towards symmetric noise with trusted rows, which fit p(t | x) without T."""


@dataclass(frozen=True, eq=False)
class TrustedFit:
    """Result of a fit with trusted rows.

    Attributes:
        p: Class probabilities p(t | x) of the rows, [n, c].
        posterior: Label posterior of the rows: geometric mean of p and of the one by p and T,
            [n, c].
        transition: Noise transition matrix T, [c, c].
        held_out: Class probabilities of the trusted rows by classifiers that were fitted without
            them, [m, c].
    """

    p: Float[Tensor, "n c"]
    posterior: Float[Tensor, "n c"]
    transition: Float[Tensor, "c c"]
    held_out: Float[Tensor, "m c"]

    def compute_loss(self, labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Cross-entropy of given labels by p alone, nats, [n]."""
        return -self.p.gather(1, labels[:, None])[:, 0].clamp_min(1e-30).log()


@dataclass(frozen=True)
class TrustedFitter:
    """Fit of p(t | x) to trusted rows, and of T to the given labels with p fixed.

    Attributes:
        folds: Number of cross-fitting folds.
        seed: Random seed of the fold assignments.
        penalty: L2 penalty of the linear heads.
        fit: Function that fits a head.
    """

    folds: int
    seed: int
    penalty: float
    fit: HeadFitter

    def __call__(self, rows: LabeledData, trusted: TrustedData) -> TrustedFit:
        """Fit the mean of a classifier of the trusted rows alone, and of one of both tables."""
        folds = trusted.assign_folds(self.folds, self.seed)
        alone, alone_by_fold, alone_held_out = self._predict_from_trusted(rows, trusted, folds)
        targets = [self._compute_targets(rows, logits) for logits in alone_by_fold]
        both, both_held_out = self._predict_from_both(rows, targets, trusted, folds)
        p = ((self._add_classifier(rows, alone) + both) / 2).softmax(1)
        transition = fit_transition_em(
            p,
            rows.labels,
            make_initial_transition(rows.classes),
            known_one_hot=rows.known_one_hot,
            temper=TRUSTED_TEMPER,
        )
        transition = shrink_to_symmetric(transition, TRUSTED_TEMPER)
        noise_posterior = compute_pooled_posterior(p, rows, transition)
        geometric_mean = (p * noise_posterior).sqrt()
        mean_posterior = geometric_mean / geometric_mean.sum(1, keepdim=True)
        held_out = ((alone_held_out + both_held_out) / 2).softmax(1)
        return TrustedFit(p, mean_posterior, transition, held_out)

    def _predict_from_trusted(
        self, rows: LabeledData, trusted: TrustedData, folds: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Logits of heads fitted to trusted rows alone, temperature-scaled out of fold.

        Returns:
            Logits of the rows [n, c], by all trusted rows and by those outside of each fold, and
            out-of-fold logits of the trusted rows [m, c].
        """
        labels = one_hot(trusted.labels, rows.classes).float()
        head = self.fit(trusted.features, labels, self.penalty)
        by_fold, held_out_logits = [], torch.empty_like(labels)
        for fold in range(self.folds):
            held_out = folds == fold
            head_of_fold = self.fit(trusted.features[~held_out], labels[~held_out], self.penalty)
            held_out_logits[held_out] = head_of_fold(trusted.features[held_out])
            by_fold.append(head_of_fold(rows.features))
        pairs = ((logits, held_out_logits) for logits in (head(rows.features), *by_fold))
        every, *scaled = (stack_logits([pair], trusted.labels) for pair in pairs)
        return every, scaled, stack_logits([(held_out_logits, held_out_logits)], trusted.labels)

    def _compute_targets(self, rows: LabeledData, logits: Tensor) -> Tensor:
        """Label posterior of the rows by a classifier of trusted rows alone, [n, c]."""
        p = self._add_classifier(rows, logits).softmax(1)
        start, known_one_hot = make_initial_transition(rows.classes), rows.known_one_hot
        transition = fit_transition_em(p, rows.labels, start, known_one_hot=known_one_hot)
        return rows.clamp_to_known(compute_pooled_posterior(p, rows, transition))

    def _add_classifier(self, rows: LabeledData, logits: Tensor) -> Tensor:
        if rows.classifier_logits is None:
            return logits
        return (logits + calibrate_logits(rows.classifier_logits, rows.labels)) / 2

    def _predict_from_both(
        self, rows: LabeledData, targets: list[Tensor], trusted: TrustedData, folds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Out-of-fold logits of classifiers fitted to trusted rows and to the label posterior.

        The posterior of a fold is that of a classifier without the fold's trusted rows: otherwise
        the table would tell their labels, and the weights of the stacking be too large.

        Args:
            rows: Labelled data.
            targets: Label posterior for each fold, [n, c] each.
            trusted: Trusted rows.
            folds: Fold of each trusted row, [m].

        Returns:
            Logits of the rows [n, c] and of the trusted rows [m, c].
        """
        labels = one_hot(trusted.labels, rows.classes).float()
        row_folds = assign_group_folds(rows.group_ids, self.folds, self.seed)
        logits, trusted_logits = torch.zeros_like(targets[0]), torch.zeros_like(labels)
        features = torch.cat([rows.features, trusted.features])
        for fold, of_fold in enumerate(targets):
            rows_held_out, trusted_held_out = row_folds == fold, folds == fold
            weights = torch.cat([rows.weights * ~rows_held_out, (~trusted_held_out).float()])
            head = self.fit(features, torch.cat([of_fold, labels]), self.penalty, weights)
            row_ids = rows_held_out.nonzero()[:, 0]
            logits[rows_held_out] = head.predict(rows.features, row_ids)
            trusted_logits[trusted_held_out] = head(trusted.features[trusted_held_out])
        naive_bayes = NaiveBayes(self.folds, 1, self.seed)
        term_logits = [
            naive_bayes.cross_fit_with_trusted(terms, rows, targets, trusted)
            for terms in zip(rows.terms, trusted.terms, strict=False)
        ]
        return _stack([(logits, trusted_logits), *term_logits], trusted)


def _stack(pairs: list[tuple[Tensor, Tensor]], trusted: TrustedData) -> tuple[Tensor, Tensor]:
    """Stack logits of rows and of trusted rows with weights that fit the trusted labels."""
    both = [(torch.cat(pair), pair[1]) for pair in pairs]
    stacked = stack_logits(both, trusted.labels)
    rows = len(stacked) - len(trusted.labels)
    return stacked[:rows], stacked[rows:]
