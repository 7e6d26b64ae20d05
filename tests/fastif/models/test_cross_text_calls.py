"""Transformers with state of earlier texts, a padded window, or an error in a later batch."""

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    LongformerConfig,
    LongformerForSequenceClassification,
)

from fastif import Gradients, InputError, TextExamples, TransformerObjective
from fastif.gradients.per_example import compute_loss_gradients

LENGTHS = (8, 3, 5, 12, 7, 7, 3, 9, 4, 11, 6, 2)


def _texts(*last: int) -> TextExamples:
    generator = torch.Generator().manual_seed(2)
    tokens = [torch.randint(5, 40, (length,), generator=generator) for length in LENGTHS]
    for row in range(len(last) and len(tokens)):
        tokens[row] = torch.cat([tokens[row], torch.tensor(last[: 1 + (row == 5)])])
    labels = torch.tensor([0, 1] * 6)
    return TextExamples(tokens, None, labels, torch.zeros(12, dtype=torch.bool), 1)


SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "initializer_range": 0.3,
}


def test_a_model_with_state_of_earlier_texts_is_refused():
    """Rotary frequencies that depend on the longest text so far."""
    scaling = {"rope_type": "dynamic", "factor": 2.0}
    more = {"max_position_embeddings": 6, "rope_scaling": scaling}
    config = LlamaConfig(**SMALL, pad_token_id=0, **more)
    objective = TransformerObjective(LlamaForSequenceClassification(config).eval(), "all")
    with pytest.raises(InputError, match="previous calls"):
        compute_loss_gradients(Gradients(objective), _texts().with_batch_size(5), range(12))


def test_a_model_that_pads_to_a_multiple_of_its_window_is_cut():
    """Its hidden states are more than its tokens."""
    config = LongformerConfig(**SMALL, pad_token_id=1, attention_window=4)
    model = LongformerForSequenceClassification(config).eval()
    objective, texts = TransformerObjective(model, "last:1"), _texts()
    actual = compute_loss_gradients(Gradients(objective), texts.with_batch_size(5), range(12))
    assert objective.num_frozen_layers == 1
    double = model.double()
    parameters = dict(double.named_parameters())
    for row, tokens in enumerate(texts.tokens):
        logits = double(input_ids=tokens[None]).logits
        loss = nn.functional.cross_entropy(logits, texts.labels[row : row + 1])
        own = [parameters[name] for name in objective.space.names]
        truth = torch.autograd.grad(loss, own, materialize_grads=True)
        flat = torch.cat([gradient.flatten() for gradient in truth])
        torch.testing.assert_close(actual[row].double(), flat, rtol=1e-4, atol=1e-5)


def test_an_error_of_a_model_in_a_later_batch_is_an_input_error():
    """One text has two end tokens, and its model needs equal numbers in a batch."""
    config = BartConfig(
        vocab_size=40,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
        pad_token_id=1,
        eos_token_id=2,
    )
    objective = TransformerObjective(BartForSequenceClassification(config).eval(), "all")
    with pytest.raises(InputError, match="<eos>"):
        compute_loss_gradients(Gradients(objective), _texts(2, 2).with_batch_size(6), range(12))
