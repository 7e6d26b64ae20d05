"""Per-example gradients of convolutions and batch norms: equal to autograd in double precision."""

import pytest
import torch
from torch import nn

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.gradients.route import get_route
from fastif.gradients.structured_tile import StructuredTile


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


class Replaced(nn.Conv2d):
    """A convolution with a forward pass of its own."""

    def forward(self, inputs):
        return 2 * nn.functional.conv2d(inputs, self.weight, self.bias, padding=1)


@pytest.mark.default_cases
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 8, 3, groups=2, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, padding="same", padding_mode="circular"),
        nn.Conv2d(4, 6, (2, 4), stride=(2, 1), padding=(0, 2), padding_mode="reflect"),
        nn.Conv2d(4, 6, (2, 3), groups=2, padding="same", padding_mode="replicate"),
        nn.Conv2d(4, 6, (3, 2), padding="same", dilation=(1, 3)),
        nn.Conv2d(4, 6, 3, padding="valid"),
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 8, 5, padding=3, stride=2, dilation=3),
                      nn.Unflatten(2, (2, -1))),
        nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 4, (1, 3, 2), padding=(0, 1, 0)),
                      nn.Flatten(1, 2)),
        Replaced(4, 5, 3),
        nn.ConvTranspose2d(4, 5, 2),
        make_batch_norm(),
        nn.Sequential(nn.Conv2d(4, 4, 1), make_batch_norm()),
    ],
    ids=["plain", "strided", "grouped", "depthwise", "reflected", "replicated", "same", "valid",
         "in place", "one axis", "three axes", "replaced", "transposed", "norm", "both"],
)  # fmt: skip
@pytest.mark.parametrize("way", ["formed", "in parts", "factors"])
def test_gradients_of_each_example_equal_autograd(layer, way, monkeypatch):
    """Formed from all patches or those of one example at a time, and as factors."""
    if way == "in parts":
        monkeypatch.setattr("fastif.gradients.layer_rules.MAX_PATCHES", 1)
    share = 0.0 if way == "factors" else 2.0
    monkeypatch.setattr("fastif.gradients.tile_structure.MIN_SHARE", share)
    monkeypatch.setattr("fastif.gradients.tile_structure.MAX_OPERATIONS", 1e9)
    channels = layer.float().eval()(torch.zeros(2, 4, 7, 7)).shape[1]
    model = make_model(layer, channels)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(5, 4, 7, 7, generator=generator).double()
    rows = fastif.TensorExamples(inputs, torch.tensor([0, 1, 2, 0, 1]))
    objective = fastif.ModuleObjective(model, fastif.CrossEntropy())
    gradients = fastif.Gradients(objective)
    tile = gradients.compute_loss_tile(rows.take(torch.arange(2)))
    assert isinstance(tile, StructuredTile) is (way == "factors")
    given = compute_loss_gradients(gradients, rows)
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
