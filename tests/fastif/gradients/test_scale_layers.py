"""Layers that scale a normalised input are found by their outputs; gradients equal autograd."""

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from benchmarks.families.examine import make_rows
from benchmarks.families.tiny import tiny_classifier
from fastif import CrossEntropy, Gradients, ModuleObjective, TensorExamples, TransformerObjective
from fastif.gradients import layer_rules
from fastif.gradients.hooks import capture_layer_grads
from fastif.gradients.per_example import compute_loss_gradients
from fastif.gradients.route import get_route
from fastif.gradients.scale_layers import compute_scale_gradients


class Single(nn.Module):
    """Layer with one weight."""

    def __init__(self, start=1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((6,), start))

    def normalise(self, x):
        return x / x.square().mean(-1, keepdim=True).sqrt()


class Flipped(Single):
    """The weight of another entry; equal weights would hide it."""

    def forward(self, x):
        return self.weight.flip(0) * self.normalise(x)


class Squared(Single):
    """The square of a weight is 0 at 0 and 1 at 1."""

    def forward(self, x):
        return self.weight.square() * self.normalise(x)


class Inside(Single):
    """The weight is part of the norm too."""

    def forward(self, x):
        return self.normalise(self.weight * x)


class Shifted(Single):
    """A term without the weight."""

    def forward(self, x):
        return self.weight * self.normalise(x) + x


class Mixed(Single):
    """Rows depend on others."""

    def forward(self, x):
        return self.weight * (x - x.mean(0, keepdim=True))


class Rounded(Single):
    """A weight that is nearly, but not quite, a factor."""

    def forward(self, x):
        return (self.weight + 1e-3 * self.weight * (1 - self.weight)) * self.normalise(x)


SCALES = {
    "torch": lambda: nn.RMSNorm(6),
    "two axes": lambda: nn.RMSNorm((3, 6), eps=0.1),
    "llama": lambda: LlamaRMSNorm(6),
    "gemma": lambda: GemmaRMSNorm(6),
    "t5": lambda: T5LayerNorm(6),
}
OTHERS = (Flipped, Squared, Inside, Shifted, Mixed, Rounded)


def draw(layer, count=4):
    generator = torch.Generator().manual_seed(2)
    layer = layer.double()
    for tensor in layer.parameters():
        tensor.data += torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
    inputs, delta = torch.randn(2, count, 3, 6, generator=generator, dtype=torch.float64)
    return layer, inputs, delta


@pytest.mark.parametrize("name", SCALES)
def test_gradients_of_scales_equal_autograd(name):
    layer, inputs, delta = draw(SCALES[name]())
    outputs = layer(inputs)
    actual = compute_scale_gradients(layer, inputs, delta, outputs)
    for row in range(len(inputs)):
        single = (layer(inputs[row : row + 1]) * delta[row]).sum()
        (expected,) = torch.autograd.grad(single, [layer.weight])
        tolerance = {"rtol": 1e-10, "atol": 1e-12} if name in ("torch", "two axes") else {}
        torch.testing.assert_close(actual["weight"][row], expected, **tolerance)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_layers_are_not_taken_for_scales(kind):
    layer, inputs, delta = draw(kind())
    assert compute_scale_gradients(layer, inputs, delta, layer(inputs)) is None


@pytest.mark.parametrize("kind", OTHERS[:4])
def test_gradients_of_other_layers_are_exact_all_the_same(kind):
    torch.manual_seed(0)
    module = nn.Sequential(kind(), nn.Flatten(), nn.Linear(18, 3)).double()
    examples = TensorExamples(torch.randn(5, 3, 6).double(), torch.arange(5) % 3)
    actual = compute_loss_gradients(Gradients(ModuleObjective(module, CrossEntropy())), examples)
    for row in range(5):
        inputs, labels = examples.inputs[row : row + 1], examples.labels[row : row + 1]
        loss = nn.functional.cross_entropy(module(inputs), labels)
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, module.parameters())])
        torch.testing.assert_close(actual[row], expected, rtol=1e-10, atol=1e-12)


def test_outputs_of_another_form_than_on_the_first_call():
    """A layer that does something else on other inputs is left to vmap, call by call."""
    layer, inputs, delta = draw(nn.RMSNorm(6))
    assert compute_scale_gradients(layer, inputs, delta, layer(inputs)) is not None
    assert compute_scale_gradients(layer, inputs, delta, layer(inputs) + 1) is None


def test_weights_without_a_place_in_the_input():
    assert compute_scale_gradients(nn.PReLU(6), *torch.zeros(2, 4, 3, 6), None) is None
    assert compute_scale_gradients(nn.Linear(6, 6, bias=False), *torch.zeros(2, 4, 6), None) is None


@pytest.mark.parametrize("family", ["llama", "gemma", "qwen3"])
def test_decoders_need_no_vmap(family, monkeypatch):
    """All parameters have a closed form, but for Gemma's embedding, which scales its outputs."""
    model = tiny_classifier(family).float()
    objective = TransformerObjective(model, "all")
    batch = make_rows(model, 0).take(torch.arange(4))
    calls = [call for call, _ in next(capture_layer_grads(objective, batch, "losses"))]
    assert sum("norm" in call.name for call in calls) > 2
    expected = Gradients(objective)
    expected.per_example_backward = True
    rows = expected.compute_loss_tile(batch).gradients.clone()

    mapped = []
    original = layer_rules._compute_vjp_gradients

    def record(layer, *args):
        mapped.append(type(layer).__name__)
        return original(layer, *args)

    monkeypatch.setattr(layer_rules, "_compute_vjp_gradients", record)
    actual = Gradients(objective).compute_loss_tile(batch).gradients
    assert str(get_route(objective)) == "hooks"
    assert set(mapped) <= {"GemmaTextScaledWordEmbedding"}
    assert float((actual - rows).abs().max()) < 1e-5 * float(rows.abs().max())


@pytest.mark.parametrize("padding_idx", [None, 2])
def test_embeddings_equal_autograd(padding_idx):
    torch.manual_seed(4)
    layer = nn.Embedding(7, 5, padding_idx)
    module = nn.Sequential(layer, nn.Flatten(), nn.Linear(20, 3)).double()
    words = torch.tensor([[0, 2, 2, 6], [1, 1, 1, 1], [2, 0, 3, 0]])
    examples = TensorExamples(words, torch.arange(3))
    actual = compute_loss_gradients(Gradients(ModuleObjective(module, CrossEntropy())), examples)
    for row in range(3):
        loss = nn.functional.cross_entropy(module(words[row : row + 1]), examples.labels[[row]])
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, module.parameters())])
        torch.testing.assert_close(actual[row], expected, rtol=1e-10, atol=1e-12)
