"""Small models, each with a kind of layer whose gradients are held as factors."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

CLASSES = 4


class Sequence(nn.Module):
    """Linear layers over a few positions, then a norm and a head over their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(80, 60)
        self.second = nn.Linear(60, 16, bias=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, inputs):
        return self.head(self.norm(self.second(torch.tanh(self.first(inputs)))).mean(1))


def _mlp():
    return nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.BatchNorm1d(16), nn.Linear(16, CLASSES))


class Twice(nn.Module):
    """One layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(40, 40), nn.Linear(40, CLASSES)

    def forward(self, inputs):
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(inputs)))))


def _convolution():
    layer = nn.Conv2d(8, 64, 3, stride=2, padding=1)
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(256, CLASSES))


def _grouped():
    layer = nn.Conv1d(32, 32, 3, dilation=2, groups=2, padding="same", padding_mode="circular")
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(64, CLASSES))


def _transposed():
    return nn.Sequential(Conv1D(24, 20), nn.Tanh(), nn.Linear(24, CLASSES))


MODELS = {
    "mlp": (_mlp, (20,)),
    "positions": (Sequence, (2, 80)),
    "one": (Sequence, (1, 80)),
    "twice": (Twice, (40,)),
    "conv": (_convolution, (8, 3, 3)),
    "grouped": (_grouped, (32, 2)),
    "transposed": (_transposed, (20,)),
}
"""Constructor of each model, and the shape of an example."""
