"""A number for each example, taken from the model's outputs and the target."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

InvalidTargets = tuple[str, Bool[Tensor, " n"]]
"""What targets have to be, and which rows are not."""


class Measure(ABC):
    """What is asked of a query: its loss, or any other differentiable function of the outputs.

    >>> class Margin(Measure):
    ...     def __call__(self, outputs, targets):
    ...         right = outputs.gather(1, targets[:, None])[:, 0]
    ...         return right - outputs.scatter(1, targets[:, None], -torch.inf).logsumexp(1)
    >>> import torch
    >>> Margin()(torch.tensor([[1.0, 3.0]]), torch.tensor([1]))
    tensor([2.])
    """

    @abstractmethod
    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        """The value of each example."""

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        """The targets at which it is not defined for so many outputs; None if there are none.

        Unless a class says otherwise those that are NaN or infinite.
        """
        return report_invalid_rows("finite numbers", nonfinite_rows(targets))


def report_invalid_rows(expected: str, rows: Bool[Tensor, " n"]) -> InvalidTargets | None:
    """The rows with what was expected of them, if there are any."""
    return (expected, rows.cpu()) if bool(rows.any()) else None


def nonfinite_rows(targets: Shaped[Tensor, "n *t"]) -> Bool[Tensor, " n"]:
    """Which rows hold NaN or infinity."""
    return ~torch.isfinite(targets).reshape(len(targets), -1).all(1)


def all_rows(targets: Shaped[Tensor, "n *t"]) -> Bool[Tensor, " n"]:
    """Every row: the targets as a whole are of the wrong kind."""
    return torch.ones(len(targets), dtype=torch.bool, device=targets.device)
