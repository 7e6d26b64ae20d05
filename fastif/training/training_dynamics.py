"""Training dynamics: area under the margin of each training example."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class TrainingDynamics:
    """Area under the margin (AUM; Pleiss et al., 2020): mean margin of an example over epochs.

        margin = mean over epochs of z_y - max_{j ≠ y} z_j

    with the outputs z of the training steps themselves. A wrong label is learned last and against
    the others, so its margin is low or negative. Use an instance as `on_batch` of `fit`.

    Args:
        labels: Class numbers [n] of the training examples.

    Examples:
        >>> dynamics = TrainingDynamics(torch.tensor([0, 1]))
        >>> dynamics(torch.tensor([1, 0]), torch.tensor([[3.0, 1.0], [2.0, 0.5]]))
        >>> dynamics.margins
        tensor([ 1.5000, -2.0000])
    """

    def __init__(self, labels: Int[Tensor, " n"]) -> None:
        self.labels = labels.cpu()
        self._total = torch.zeros(len(labels), dtype=torch.float64)
        self._counts = torch.zeros(len(labels), dtype=torch.long)

    def __call__(self, ids: Int[Tensor, " b"], outputs: Float[Tensor, "b c"]) -> None:
        """Record a batch: positions of its examples, and their outputs."""
        logits, labels = outputs.detach().double().cpu(), self.labels[ids][:, None]
        runner_up = logits.scatter(1, labels, -torch.inf).amax(1)
        self._total.index_add_(0, ids, logits.gather(1, labels)[:, 0] - runner_up)
        self._counts.index_add_(0, ids, torch.ones_like(ids))

    @property
    def margins(self) -> Float[Tensor, " n"]:
        """Mean margin [n] of each example; NaN for an example in no batch."""
        return (self._total / self._counts).float()
