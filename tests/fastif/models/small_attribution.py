"""Attribution with a few rows of three numbers, and small models."""

import torch
from torch import Tensor, nn

from fastif import Attributor, Dual, GaussNewton, TensorExamples


def _insert_layers(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *layers, nn.Linear(4, 3))


class _Returns(nn.Module):
    def __init__(self, made) -> None:
        super().__init__()
        self.a, self.made = nn.Linear(3, 3), made

    def forward(self, x: Tensor) -> object:
        return self.made(self.a(x))


def _rows(n: int = 12, dtype: torch.dtype = torch.float32) -> TensorExamples:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 3, generator=generator).to(dtype)
    return TensorExamples(inputs, torch.randint(3, (n,), generator=generator))


def _attribute(objective, train, ids=(0, 1)):
    operator = GaussNewton(objective, train).with_damping(0.1)
    return Attributor(objective, train, operator, Dual())(train, torch.tensor(ids))
