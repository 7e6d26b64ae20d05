"""Small modules, one for each way in which layers and parameters are used."""

import torch
from torch import Tensor, nn


class Positions(nn.Module):
    """Layers applied at every position of a sequence, then a mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(3, 4), nn.LayerNorm(4)
        self.outer = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.norm(self.inner(inputs))).mean(1))


class Words(nn.Module):
    """A bag of embedded words."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.outer = nn.Embedding(6, 3), nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.table(inputs).mean(1)))


class Twice(nn.Module):
    """One layer called twice, so that its gradient is a sum over calls."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(torch.tanh(self.inner(inputs)))))


class Outside(nn.Module):
    """A layer's weight is also used outside a call of the layer: forward hooks miss that use."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.inner(inputs)) @ self.inner.weight


class Shared(nn.Module):
    """A layer applied to a table of two rows that all examples share: no example axis there."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.table = nn.Linear(3, 4), nn.Linear(2, 4)
        self.register_buffer("rows", torch.tensor([[1.0, -0.5], [0.3, 2.0]]))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.inner(inputs)) @ self.table(self.rows).T


class Bare(nn.Module):
    """A parameter that belongs to no layer, next to a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale = nn.Linear(3, 3), nn.Parameter(torch.tensor([0.5, 1.0, -2.0]))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.inner(inputs)) * self.scale


class Idle(nn.Module):
    """A layer that the model never uses, as a pooler left over from pretraining."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.left_over = nn.Linear(3, 2), nn.Linear(1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs)
