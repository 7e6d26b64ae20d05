"""Embeddings of a batch of texts against each text alone."""

import pytest
import torch
from transformers import AutoModel, FNetConfig, GPT2Config, XLNetConfig

import fastif
from fastif import TextExamples
from fastif.mislabels.text_embeddings import mean_pool
from fastif.models.pretrained import load_encoder

TEXTS = ["the film was good", "bad", "a very dull plot is not the actor"]


@torch.no_grad()
def test_mean_pooling_matches_each_text_alone(world):
    encoder = load_encoder(world / "model")
    tokenizer = fastif.load_tokenizer(world / "model")
    examples = fastif.encode(tokenizer, TEXTS, None, [0] * 3, 16)
    vectors = mean_pool(encoder, examples, torch.tensor([2, 0, 1]), batch_size=2)
    for row, text in zip(vectors, (TEXTS[2], TEXTS[0], TEXTS[1]), strict=True):
        hidden = encoder.embeddings(tokenizer(text, return_tensors="pt")["input_ids"])
        states = [hidden]
        for layer in encoder.encoder.layer:
            given = layer(states[-1])
            states.append(given[0] if isinstance(given, tuple) else given)
        dense = torch.stack([states[1][0].mean(0), states[3][0].mean(0)])
        torch.testing.assert_close(row, dense, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [FNetConfig, XLNetConfig, GPT2Config])
def test_embeddings_do_not_depend_on_the_batch(kind):
    """FNet attends to padding; the reference is each text alone, in float64."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    heads = {"d_head": 4, "d_inner": 12} if kind is XLNetConfig else {}
    config = kind(vocab_size=40, **sizes, **heads)
    torch.manual_seed(0)
    encoder = AutoModel.from_config(config).double().eval()
    tokens = [torch.randint(5, 40, (n,)) for n in (9, 3, 5, 9, 4)]
    rows = TextExamples(tokens, None, torch.zeros(5).long(), torch.zeros(5).bool(), 7)
    actual = mean_pool(encoder, rows, torch.arange(5))
    with torch.no_grad():
        outputs = [
            encoder(input_ids=token_ids[None], output_hidden_states=True) for token_ids in tokens
        ]
    first = 1 if kind is GPT2Config else 0  # the first token of a causal model has read no other
    states = [(output.hidden_states[1][0], output[0][0]) for output in outputs]
    truth = [torch.stack([state[first:].mean(0) for state in pair]) for pair in states]
    torch.testing.assert_close(actual.double(), torch.stack(truth), rtol=1e-5, atol=1e-5)
