"""A number for each example, taken from the model's outputs and the target."""

from abc import ABC, abstractmethod

from jaxtyping import Float, Shaped
from torch import Tensor


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
