"""Fused attention: the outputs and gradients of plain attention, or plain attention itself."""

import pytest
import reference
import torch
from cases import text_problem, token_examples, transformer
from torch.overrides import TorchFunctionMode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from fastif import Gradients, Hessian, TransformerObjective
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models import fused_attention
from fastif.models.image_classifier import ImageObjective
from tests.fastif.models.image_cases import make_image_model
from tests.fastif.models.test_decoders import make_decoder
from tests.fastif.models.test_image_classifier import dense_gradients, make_examples

ENCODERS, DECODERS = ("bert", "distilbert"), ("gpt2", "llama", "qwen3")
ROUNDED = ("llama", "qwen3")
"""Their norms round to single precision, so that a check in double precision fails."""


class FusedCalls(TorchFunctionMode):
    """Within it, the calls of fused attention are counted."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


@pytest.fixture
def on_gpu(monkeypatch):
    """Attention is fused as on a GPU."""
    monkeypatch.setattr(fused_attention, "is_faster_fused", lambda _: True)


def _make_model(family):
    return transformer(family) if family in ENCODERS else make_decoder(family)


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_gradients_by_fused_attention_equal_those_of_rows_alone(on_gpu, family):
    model, examples = _make_model(family), token_examples(7).with_batch_size(3)
    objective = TransformerObjective(model, "last:1")
    objective.verify_shortcuts(examples)
    assert objective.full_model.config._attn_implementation == "sdpa"
    assert model.config._attn_implementation == "eager", "the model itself is not changed"
    gradients = Gradients(objective)
    with FusedCalls() as fused:
        actual = compute_loss_gradients(gradients, examples)
    assert fused.count > 0
    if family not in ROUNDED:
        assert gradients.uses_hooks(examples.take(torch.arange(3)))
    expected = reference.gradients(text_problem(model, objective.space.names, examples))
    tolerance = (1e-6 if family in ROUNDED else 1e-11) * float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=tolerance)


def test_second_derivatives_are_those_of_plain_attention(on_gpu, monkeypatch):
    model, examples = transformer("bert", hidden_size=4, num_hidden_layers=2), token_examples(4)
    products = []
    for is_fused in (True, False):
        monkeypatch.setattr(fused_attention, "is_faster_fused", lambda _, value=is_fused: value)
        objective = TransformerObjective(model, "last:1")
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(2, objective.space.size, generator=generator).double()
        products.append(Hessian(objective, examples).apply(vectors))
    torch.testing.assert_close(*products, rtol=1e-9, atol=1e-12)
    assert products[0].any()


def test_a_family_without_fused_attention_keeps_the_plain_one(on_gpu):
    objective = TransformerObjective(transformer("deberta-v2"), "last:1")
    assert objective.full_model.config._attn_implementation == "eager"


@pytest.mark.parametrize("defect", ["outputs", "gradients", "error"])
def test_fused_attention_that_changes_something_is_not_used(on_gpu, monkeypatch, defect):
    attend = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def changed(module, query, key, value, mask, **options):
        if defect == "error":
            raise RuntimeError("no kernel")
        if defect == "gradients":
            value = value.detach() + 0.0 * value
        outputs, weights = attend(module, query, key, value, mask, **options)
        return (1.01 * outputs if defect == "outputs" else outputs), weights

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", changed)
    model, examples = transformer("bert"), token_examples(4)
    objective = TransformerObjective(model, "last:1")
    assert objective.full_model.config._attn_implementation == "eager"
    actual = compute_loss_gradients(Gradients(objective), examples)
    expected = reference.gradients(text_problem(model, objective.space.names, examples))
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


def test_a_model_with_another_attention_keeps_it(on_gpu):
    model = transformer("bert")
    model.set_attn_implementation("sdpa")
    objective = TransformerObjective(model, "last:1")
    assert objective.full_model.config._attn_implementation == "sdpa"


def test_the_cpu_keeps_plain_attention():
    objective = TransformerObjective(transformer("bert"), "last:1")
    assert objective.full_model.config._attn_implementation == "eager"
    assert fused_attention.is_faster_fused(torch.device("cuda"))


def test_image_models_are_fused_too(on_gpu):
    model, examples = make_image_model("vit"), make_examples()
    objective = ImageObjective(model, "last:1")
    assert objective.full_model.config._attn_implementation == "sdpa"
    actual = compute_loss_gradients(Gradients(objective), examples).double()
    expected = dense_gradients(objective, model, examples)
    torch.testing.assert_close(actual, expected, rtol=2e-4, atol=2e-5 * float(expected.abs().max()))
