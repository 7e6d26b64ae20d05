"""Per-example gradients of convolutions and batch norms: equal to autograd in double precision."""

import pytest
import torch
from torch import nn

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.gradients.route import get_route


def make_model(layer: nn.Module, channels: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(layer, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                          nn.Linear(4 * channels, 3))  # fmt: skip
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) / 2
    return model.double().eval()


def make_batch_norm() -> nn.Module:
    norm = nn.BatchNorm2d(4)
    norm.running_mean = torch.randn(4)
    norm.running_var = torch.rand(4) + 0.5
    return norm


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 8, 3, groups=2, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, padding="same", padding_mode="circular"),
        nn.ConvTranspose2d(4, 5, 2),
        make_batch_norm(),
        nn.Sequential(nn.Conv2d(4, 4, 1), make_batch_norm()),
    ],
    ids=["plain", "strided", "grouped", "depthwise", "transposed", "norm", "both"],
)
def test_gradients_of_each_example_equal_autograd(layer):
    channels = layer.float().eval()(torch.zeros(2, 4, 7, 7)).shape[1]
    model = make_model(layer, channels)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(5, 4, 7, 7, generator=generator).double()
    rows = fastif.TensorExamples(inputs, torch.tensor([0, 1, 2, 0, 1]))
    objective = fastif.ModuleObjective(model, fastif.CrossEntropy())
    given = compute_loss_gradients(fastif.Gradients(objective), rows)
    assert str(get_route(objective)) == "hooks"
    weights = list(model.parameters())
    for row, (pixels, label) in enumerate(zip(inputs, rows.labels, strict=True)):
        loss = nn.functional.cross_entropy(model(pixels[None]), label[None])
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])
        torch.testing.assert_close(given[row], expected, rtol=1e-9, atol=1e-11)


def test_batch_norm_of_rows_without_positions():
    norm = nn.BatchNorm1d(6)
    norm.running_mean, norm.running_var = torch.randn(6), torch.rand(6) + 0.5
    model = nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU(), nn.Linear(6, 2)).double().eval()
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    rows = fastif.TensorExamples(inputs, torch.tensor([0, 1, 1, 0, 1]))
    objective = fastif.ModuleObjective(model, fastif.CrossEntropy(), ["1"])
    given = compute_loss_gradients(fastif.Gradients(objective), rows)
    loss = nn.functional.cross_entropy(model(inputs[2:3]), rows.labels[2:3])
    expected = torch.cat(torch.autograd.grad(loss, [norm.weight, norm.bias]))
    torch.testing.assert_close(given[2], expected)
