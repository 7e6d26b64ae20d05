"""Measures: one number for each example, from the model's outputs and the target."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from fastif.numerics.deferred_checks import assume_all

InvalidTargets = tuple[str, Bool[Tensor, " n"]]
"""Description of valid targets, and mask of the rows with invalid ones."""


class Measure(ABC):
    """Quantity to explain of a query: its loss, or another differentiable function of the outputs.

    Attributes:
        class_targets: Whether a target of one number is the number of a class, so that it is
            converted to an integer where the targets are stored with other numbers.

    Examples:
        >>> class Margin(Measure):
        ...     def __call__(self, outputs, targets):
        ...         right = outputs.gather(1, targets[:, None])[:, 0]
        ...         return right - outputs.scatter(1, targets[:, None], -torch.inf).logsumexp(1)
        >>> import torch
        >>> Margin()(torch.tensor([[1.0, 3.0]]), torch.tensor([1]))
        tensor([2.])
    """

    class_targets: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        """Value [b] of each example."""

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        """Find targets at which the measure is undefined; None if there are none.

        By default these are NaN and infinity.
        """
        return report_invalid_rows("finite numbers", nonfinite_rows(targets))


def report_invalid_rows(expected: str, rows: Bool[Tensor, " n"]) -> InvalidTargets | None:
    """Return the description of valid targets with the mask of invalid rows, or None."""
    return None if assume_all(~rows) else (expected, rows.cpu())


def nonfinite_rows(targets: Shaped[Tensor, "n *t"]) -> Bool[Tensor, " n"]:
    """Mask of rows with NaN or infinity."""
    return ~torch.isfinite(targets).reshape(len(targets), -1).all(1)


def all_rows(targets: Shaped[Tensor, "n *t"]) -> Bool[Tensor, " n"]:
    """Mask of all rows, for targets of the wrong kind."""
    return torch.ones(len(targets), dtype=torch.bool, device=targets.device)
