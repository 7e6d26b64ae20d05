"""Every row judged by heads that have not seen it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.group_folds import folds
from fastif.mislabels.labeled_data import Rows
from fastif.mislabels.linear_head import FitHead, calibration, fit_head


@dataclass(frozen=True)
class Crossing:
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
    fit: FitHead = fit_head

    def __call__(self, rows: Rows, targets: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Logits of every row by heads fitted to the others' targets, calibrated and averaged."""
        return self.with_others(rows, targets, rows.features[:0])[0]

    def parts(self, rows: Rows) -> Int[Tensor, " n"]:
        """The fold of each row in the first partition."""
        return folds(rows.together, self.folds, self.seed)

    def with_others(
        self, rows: Rows, targets: Float[Tensor, "n c"], others: Float[Tensor, "m d"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "m c"]]:
        """The same, and the mean logits of the same heads for features of none of the rows."""
        total = torch.zeros_like(targets)
        beyond = targets.new_zeros(len(others), targets.shape[1])
        for repeat in range(self.repeats):
            parts = folds(rows.together, self.folds, self.seed + repeat)
            logits, mean = torch.empty_like(targets), torch.zeros_like(beyond)
            found = parts.unique()
            for fold in found:
                away = parts == fold
                kept = rows.features[~away], targets[~away]
                head = self.fit(*kept, self.penalty, rows.weights[~away])
                logits[away] = head(rows.features[away])
                mean += head(others) / len(found)
            scale, shift = calibration(logits, targets.argmax(1))
            total += scale * logits + shift
            beyond += scale * mean + shift
        return total / self.repeats, beyond / self.repeats
