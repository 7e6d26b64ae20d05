"""Maximum text length of a model, compared with runs on longer and longer texts."""

import pytest
import torch
from cases import FAMILIES, transformer
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    BloomConfig,
    CTRLConfig,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    LongformerConfig,
    MPNetConfig,
    OPTConfig,
    RobertaConfig,
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
def test_max_length_is_refused_beyond_the_positions_of_the_model(name):
    model = make_model(name)
    longest = next((n - 1 for n in range(2, 90) if not can_read(model, n)), None)
    if longest is None:
        check_length(model, 90)
        return
    check_length(model, longest)
    with pytest.raises(InputError, match=f"at most {longest}"):
        check_length(model, longest + 1)


BERT = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT |= {"intermediate_size": 8}
GPT = {"vocab_size": 40, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 24}
BART = {"vocab_size": 40, "d_model": 8, "max_position_embeddings": 24}
BART |= {"encoder_layers": 1, "decoder_layers": 1}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
LONGEST = {
    "roberta": (RobertaConfig(**BERT, max_position_embeddings=26), 24),
    "mpnet": (MPNetConfig(**BERT, max_position_embeddings=26), 24),
    "longformer": (
        LongformerConfig(**BERT, max_position_embeddings=26, attention_window=[4]),
        24,
    ),
    "gpt2": (GPT2Config(**GPT), 24),
    "gptj": (GPTJConfig(**GPT, rotary_dim=2), 24),
    "ctrl": (CTRLConfig(**GPT, dff=8), 24),
    "bart": (BartConfig(**BART), 24),
    "opt": (OPTConfig(**BERT, ffn_dim=8, word_embed_proj_dim=8, max_position_embeddings=24), 24),
    "llama": (LlamaConfig(**BERT, max_position_embeddings=24), None),
    "bloom": (BloomConfig(vocab_size=40, hidden_size=8, n_layer=1, n_head=2), None),
}


@pytest.mark.parametrize("family", LONGEST)
def test_the_maximum_length_is_that_of_the_longest_readable_text(family):
    config, longest = LONGEST[family]
    config.pad_token_id, config.eos_token_id = 1, 2
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids = torch.full((1, 25 if longest else 60), 5)
    ids[0, -1] = 2
    if longest is None:
        check_length(model, 10**6)
        model(input_ids=ids)
        return
    model(input_ids=ids[:, 1:])
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=ids)
    check_length(model, longest)
    with pytest.raises(InputError, match="at most 24, the positions"):
        check_length(model, 25)
