"""Activations of a batch are those of the layers, by their shapes; weights do not count."""

import pytest
import torch
from torch import nn

import fastif
from tasks.models.training_memory import measure_activation_bytes

ROWS, WIDTHS = 64, (256, 512, 3)


def measure(rows, is_frozen):
    """Activations of a network of two layers, the first one frozen or not."""
    first, hidden, last = WIDTHS
    module = nn.Sequential(nn.Linear(first, hidden), nn.Tanh(), nn.Linear(hidden, last))
    module[0].requires_grad_(not is_frozen)
    names = ["2.weight", "2.bias"] if is_frozen else "all"
    objective = fastif.ModuleObjective(module, fastif.CrossEntropy(), attributed=names)
    batch = {"inputs": torch.randn(rows, first), "labels": torch.arange(rows) % last}
    return measure_activation_bytes(objective, batch)


@pytest.mark.parametrize(
    ("is_frozen", "widths"),
    [(False, (256, 512)), (True, (512,))],
)
def test_inputs_of_trained_layers_are_kept(is_frozen, widths):
    """Of each trained layer its input, once; in addition a few numbers for each row and class."""
    kept = measure(ROWS, is_frozen)
    least = 4 * ROWS * sum(widths)
    assert least <= kept <= least + 40 * ROWS * WIDTHS[-1]
    assert measure(4 * ROWS, is_frozen) == pytest.approx(4 * kept, rel=0.01)
