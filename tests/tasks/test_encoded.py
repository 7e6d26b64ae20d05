"""What an encoder says of texts, against each text by itself."""

import torch

import fastif
from fastif.applications import mean_pooled

TEXTS = ["the film was good", "bad", "a very dull plot is not the actor"]


@torch.no_grad()
def test_layers_are_meaned_over_the_tokens_of_each_text_alone(world):
    encoder = fastif.load_encoder(world / "model")
    tokenizer = fastif.load_tokenizer(world / "model")
    examples = fastif.encode(tokenizer, TEXTS, None, [0] * 3, 16)
    found = mean_pooled(encoder, examples, torch.tensor([2, 0, 1]), batch_size=2)
    for row, text in zip(found, (TEXTS[2], TEXTS[0], TEXTS[1]), strict=True):
        hidden = encoder.embeddings(tokenizer(text, return_tensors="pt")["input_ids"])
        states = [hidden]
        for layer in encoder.encoder.layer:
            given = layer(states[-1])
            states.append(given[0] if isinstance(given, tuple) else given)
        dense = torch.stack([states[1][0].mean(0), states[3][0].mean(0)])
        torch.testing.assert_close(row, dense, atol=1e-5, rtol=1e-5)
