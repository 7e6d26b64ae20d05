"""Measure of targets that have a weight in front."""

from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.measure import InvalidTargets, Measure, all_rows, report_invalid_rows

EXPECTED = "a weight and then the target in each row, floating-point [n, 1 + t]"


@dataclass(frozen=True)
class Unweighted(Measure):
    """Measure of targets that have a weight in front, which it ignores: queries have no weight.

    Training rows and queries of one table then have targets of one shape, those of
    `weight_targets`.

    Args:
        measure: Measure of the target without its weight.

    Raises:
        InputError: On use, if targets have no column of weights.

    Examples:
        >>> import torch
        >>> from fastif import CrossEntropy
        >>> Unweighted(CrossEntropy())(torch.zeros(1, 2), torch.tensor([[7.0, 1.0]]))
        tensor([0.6931])
    """

    measure: Measure

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        if not _has_weights(targets):
            got = f"{targets.dtype} of shape {list(targets.shape)}"
            raise InputError("targets", EXPECTED, got, "Make them with weight_targets.")
        return self.measure(outputs, self._remove_weights(targets))

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        if not _has_weights(targets):
            return report_invalid_rows(EXPECTED, all_rows(targets))
        return self.measure.find_invalid_targets(self._remove_weights(targets), outputs)

    def _remove_weights(self, targets: Shaped[Tensor, "b s"]) -> Shaped[Tensor, "b *t"]:
        is_class = self.measure.class_targets and targets.shape[1] == 2
        return targets[:, 1].long() if is_class else targets[:, 1:]


def _has_weights(targets: Shaped[Tensor, "n *t"]) -> bool:
    return targets.is_floating_point() and targets.dim() == 2 and targets.shape[1] >= 2
