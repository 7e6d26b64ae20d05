"""Every row judged by heads that have not seen it."""

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
    """How rows are cut into folds and heads fitted to the others.

    Attributes:
        folds: a row is judged by a head fitted to the other folds.
        repeats: partitions into folds that are averaged.
        penalty: of the heads' squared weights.
        seed: of the folds.
        fit: fits the heads.
    """

    folds: int
    repeats: int
    penalty: float
    seed: int
    fit: HeadFitter = fit_linear_head

    def __call__(self, rows: LabeledData, targets: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Logits of every row by heads fitted to the others' targets, calibrated and averaged."""
        return self.predict_with_others(rows, targets, rows.features[:0])[0]

    def assign_folds(self, rows: LabeledData) -> Int[Tensor, " n"]:
        """The fold of each row in the first partition."""
        return assign_group_folds(rows.group_ids, self.folds, self.seed)

    def predict_with_others(
        self, rows: LabeledData, targets: Float[Tensor, "n c"], other_features: Float[Tensor, "m d"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "m c"]]:
        """The same, and the mean logits of the same heads for features of none of the rows."""
        total = torch.zeros_like(targets)
        other_total = targets.new_zeros(len(other_features), targets.shape[1])
        for repeat in range(self.repeats):
            fold_ids = assign_group_folds(rows.group_ids, self.folds, self.seed + repeat)
            logits, other_mean = torch.empty_like(targets), torch.zeros_like(other_total)
            distinct_folds = fold_ids.unique()
            for fold in distinct_folds:
                held_out = fold_ids == fold
                training = rows.features[~held_out], targets[~held_out]
                head = self.fit(*training, self.penalty, rows.weights[~held_out])
                logits[held_out] = head(rows.features[held_out])
                other_mean += head(other_features) / len(distinct_folds)
            scale, shift = fit_calibration(logits, targets.argmax(1))
            total += scale * logits + shift
            other_total += scale * other_mean + shift
        return total / self.repeats, other_total / self.repeats
