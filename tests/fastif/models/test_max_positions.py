"""The longest text of a model, against running it on ever longer ones."""

import pytest
import torch
from cases import FAMILIES, transformer
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    OPTConfig,
    XLNetConfig,
)

from fastif import InputError
from fastif.models.max_positions import check_length

SMALL = {"vocab_size": 40, "pad_token_id": 0}
OTHERS = {
    "gpt2": GPT2Config(n_embd=8, n_layer=1, n_head=2, n_positions=24, **SMALL),
    "opt": OPTConfig(
        hidden_size=8,
        ffn_dim=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        word_embed_proj_dim=8,
        max_position_embeddings=24,
        **SMALL,
    ),
    "llama": LlamaConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=24,
        **SMALL,
    ),
    "xlnet": XLNetConfig(d_model=8, n_layer=1, n_head=2, d_inner=8, **SMALL),
}


def make_model(name: str):
    if name in FAMILIES:
        return transformer(name, torch.float32)
    return AutoModelForSequenceClassification.from_config(OTHERS[name]).eval()


@torch.no_grad()
def can_read(model, length: int) -> bool:
    tokens = 5 + torch.arange(length)[None] % 30
    try:
        model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS])
def test_max_length_is_refused_exactly_where_the_model_has_no_positions(name):
    model = make_model(name)
    longest = next((n - 1 for n in range(2, 90) if not can_read(model, n)), None)
    if longest is None:
        check_length(model, 90)
        return
    check_length(model, longest)
    with pytest.raises(InputError, match=f"at most {longest}"):
        check_length(model, longest + 1)
