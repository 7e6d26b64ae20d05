"""Features of a causal decoder: means without the first token, with padding on either side."""

import pytest
import torch
from transformers import AutoModel, BertConfig, GPT2Config, LlamaConfig

from fastif import TextExamples
from fastif.mislabels.text_embeddings import mean_pool

SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
CONFIGS = {
    "gpt2": GPT2Config(vocab_size=40, n_embd=8, n_layer=2, n_head=2, n_positions=24),
    "llama": LlamaConfig(vocab_size=40, **SIZES),
    "bert": BertConfig(vocab_size=40, **SIZES),
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", CONFIGS)
def test_features_are_means_over_the_tokens_that_have_read_others(name, side):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = AutoModel.from_config(CONFIGS[name]).eval()
        tokens = [torch.randint(5, 40, (length,)) for length in (7, 3, 1, 5, 7)]
    rows = TextExamples(tokens, None, torch.zeros(5).long(), torch.zeros(5).bool(), 0, side=side)
    features = mean_pool(encoder, rows, torch.arange(5))
    for row, actual in zip(tokens, features, strict=True):
        with torch.no_grad():
            output = encoder(input_ids=row[None], output_hidden_states=True)
        start = 0 if name == "bert" or len(row) == 1 else 1
        for hidden, feature in zip(
            (output.hidden_states[1], output.last_hidden_state), actual, strict=True
        ):
            torch.testing.assert_close(feature, hidden[0, start:].mean(0), rtol=1e-4, atol=1e-5)
