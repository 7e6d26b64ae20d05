"""Gradients of root mean square normalisations in closed form, against autograd of each row."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from fastif.gradients.layer_rules import compute_layer_gradients
from fastif.gradients.scale_layers import compute_scale_gradients

WIDTH = 6
KINDS = {
    "torch": nn.RMSNorm,
    "Llama": LlamaRMSNorm,
    "Mistral": MistralRMSNorm,
    "Qwen3": Qwen3RMSNorm,
    "T5": T5LayerNorm,
    "Gemma": GemmaRMSNorm,
    "Gemma3": Gemma3RMSNorm,
}
SHAPES = {"positions": (4, 5, WIDTH), "heads": (4, 2, 3, WIDTH), "one position": (4, WIDTH)}


STRANGE = "transformers.models.strange"


class SquaredRMSNorm(LlamaRMSNorm):
    """The same normalisation with the square of the weight: a name is no proof."""

    __module__ = STRANGE

    def forward(self, hidden_states):
        return self.weight * super().forward(hidden_states)


class MixedRMSNorm(LlamaRMSNorm):
    """A weight that is normalised itself, so that every output depends on all of it."""

    __module__ = STRANGE

    def forward(self, hidden_states):
        return super().forward(hidden_states) / self.weight.norm()


def make_call(kind, shape):
    generator = torch.Generator().manual_seed(3)
    layer = kind(WIDTH)
    layer.weight.data = torch.rand(WIDTH, generator=generator) + 0.5
    inputs, delta = (torch.randn(shape, generator=generator) for _ in range(2))
    return layer, inputs, delta, layer(inputs)


def compute_truth(layer, inputs, delta):
    """The gradient of each row alone by a backward pass."""
    layer, rows = copy.deepcopy(layer), []
    for example, cotangent in zip(inputs, delta, strict=True):
        (row,) = torch.autograd.grad(layer(example[None]), [layer.weight], cotangent[None])
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("name", KINDS)
def test_gradients_are_those_of_autograd(name, shape):
    layer, inputs, delta, outputs = make_call(KINDS[name], shape)
    gradients = compute_scale_gradients(layer, inputs, delta, outputs)
    assert gradients is not None
    torch.testing.assert_close(gradients["weight"], compute_truth(layer, inputs, delta))


@pytest.mark.parametrize("kind", [SquaredRMSNorm, MixedRMSNorm])
@pytest.mark.parametrize("ones", [True, False])
def test_other_functions_of_the_weight_are_differentiated(kind, ones):
    """Where a layer of this name computes something else, the general rule gives its gradients."""
    layer, inputs, delta, _ = make_call(kind, SHAPES["positions"])
    if ones:
        nn.init.ones_(layer.weight)  # where powers of the weight are alike
    outputs = layer(inputs)
    assert compute_scale_gradients(layer, inputs, delta, outputs) is None
    gradients = compute_layer_gradients(layer, inputs, delta, outputs)
    torch.testing.assert_close(gradients["weight"], compute_truth(layer, inputs, delta))
