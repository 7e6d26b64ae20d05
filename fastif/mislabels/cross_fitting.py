"""Cross-fitting: out-of-fold logits of every row from classifiers that were not trained on it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.calibration import fit_calibration
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.linear_head import HeadFitter, fit_linear_head


@dataclass(frozen=True)
class CrossFitter:
    """Repeated group k-fold cross-fitting of linear heads.

    Attributes:
        folds: Number of folds; a row's logits are from a head fitted to the other folds.
        repeats: Number of partitions into folds; logits are averaged over these.
        penalty: L2 penalty λ on the head's weights, ½ λ ‖W‖².
        seed: Random seed of the first fold assignment; each repeat adds 1.
        fit: Function that fits a head; see `fit_linear_head`.
    """

    folds: int
    repeats: int
    penalty: float
    seed: int
    fit: HeadFitter = fit_linear_head

    def __call__(self, rows: LabeledData, targets: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Return the out-of-fold logits of every row, calibrated and averaged over repeats, [n, c].

        Args:
            rows: Features, groups and weights of the rows.
            targets: Target distribution over classes of each row, one-hot or soft, [n, c].
        """
        return self.predict_with_others(rows, targets, rows.features[:0])[0]

    def assign_folds(self, rows: LabeledData) -> Int[Tensor, " n"]:
        """Return the fold index of each row in the first partition, [n]."""
        return assign_group_folds(rows.group_ids, self.folds, self.seed)

    def predict_with_others(
        self, rows: LabeledData, targets: Float[Tensor, "n c"], other_features: Float[Tensor, "m d"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "m c"]]:
        """Return out-of-fold logits of the rows, and the same heads' mean logits of other rows.

        Args:
            rows: Features, groups and weights of the rows.
            targets: Target distribution over classes of each row, [n, c].
            other_features: Features of rows in no fold; every head predicts them, [m, d].

        Returns:
            Logits of the rows [n, c] and of the other rows [m, c], with one calibration for both.
        """
        total = torch.zeros_like(targets)
        other_total = targets.new_zeros(len(other_features), targets.shape[1])
        for repeat in range(self.repeats):
            fold_ids = assign_group_folds(rows.group_ids, self.folds, self.seed + repeat)
            logits, other_mean = torch.empty_like(targets), torch.zeros_like(other_total)
            distinct_folds = fold_ids.unique()
            for fold in distinct_folds:
                held_out = fold_ids == fold
                # By weights of 0 and not by a copy of the other rows, which may not fit in memory.
                head = self.fit(rows.features, targets, self.penalty, rows.weights * ~held_out)
                logits[held_out] = head.predict(rows.features, held_out.nonzero()[:, 0])
                other_mean += head(other_features) / len(distinct_folds)
            scale, shift = fit_calibration(logits, targets.argmax(1))
            total += scale * logits + shift
            other_total += scale * other_mean + shift
        return total / self.repeats, other_total / self.repeats
