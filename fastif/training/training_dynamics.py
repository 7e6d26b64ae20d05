"""Training dynamics: how a classifier stood to each training row while it learned."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class TrainingDynamics:
    """The lead of each row's own label over the next, averaged over the epochs.

    margin = mean over epochs of z_y - max_{j != y} z_j, with the outputs z that the training step
    itself computed (the area under the margin of Pleiss and others, 2020). A wrong label is learned
    last and against the others: its margin is low or negative.

    Args:
        labels: of the training rows.

    >>> seen = TrainingDynamics(torch.tensor([0, 1]))
    >>> seen(torch.tensor([1, 0]), torch.tensor([[3.0, 1.0], [2.0, 0.5]]))
    >>> seen.margins
    tensor([ 1.5000, -2.0000])
    """

    def __init__(self, labels: Int[Tensor, " n"]) -> None:
        self.labels = labels.cpu()
        self._total = torch.zeros(len(labels), dtype=torch.float64)
        self._counts = torch.zeros(len(labels), dtype=torch.long)

    def __call__(self, ids: Int[Tensor, " b"], outputs: Float[Tensor, "b c"]) -> None:
        """Take note of a batch: the positions of its rows, and its outputs."""
        logits, labels = outputs.detach().double().cpu(), self.labels[ids][:, None]
        runner_up = logits.scatter(1, labels, -torch.inf).amax(1)
        self._total.index_add_(0, ids, logits.gather(1, labels)[:, 0] - runner_up)
        self._counts.index_add_(0, ids, torch.ones_like(ids))

    @property
    def margins(self) -> Float[Tensor, " n"]:
        """Of each row; NaN for a row that no batch had."""
        return (self._total / self._counts).float()
