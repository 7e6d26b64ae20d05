"""Tiny classifiers of many families with random weights, and word-level tokenizers for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CONFIG_MAPPING,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

WORDS = [
    "good",
    "fine",
    "great",
    "nice",
    "happy",
    "bad",
    "poor",
    "awful",
    "sad",
    "angry",
    "the",
    "a",
    "film",
    "book",
    "was",
    "very",
    "it",
    "is",
    "and",
]
POSITIONS = 48
LAYERS = 2

SPARE = 2
"""Rows of the table of tokens that stand for no word, as most models have some."""

Side = Literal["left", "right"]
Marks = Literal["bert", "plain", "xlnet"]

_BERT_LIKE = {
    "hidden_size": 12,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": POSITIONS,
}
_ENDS = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
_LLAMA_LIKE = {**_BERT_LIKE, "num_key_value_heads": 1, "head_dim": 6}
_ROBERTA_LIKE = {**_BERT_LIKE, "max_position_embeddings": POSITIONS + 4, "type_vocab_size": 1}


@dataclass(frozen=True)
class Family:
    """How a family is configured, and how its own tokenizers mark texts.

    Attributes:
        sizes: arguments of its configuration.
        layer: expression that finds the number of the encoder layer in a parameter's name.
        below: expression for the parameters that `last:K` leaves out in addition to the
            lower layers.
        pad: place of the padding token in the vocabulary; -1 is the last.
        side: where its tokenizers pad.
        marks: which special tokens they add.
        segments: whether they give token types.
        decoder: whether the head reads the last token.
    """

    sizes: dict[str, Any]
    layer: str = r"layers?\.(\d+)\."
    below: str = r"embed|rel_embeddings|encoder\.LayerNorm|relative_attention_bias"
    pad: int = 0
    side: Side = "right"
    marks: Marks = "bert"
    segments: bool = False
    decoder: bool = False


def _decoder(
    sizes: dict[str, Any], layer: str = r"layers?\.(\d+)\.", side: Side = "left"
) -> Family:
    below = r"embed|wte|wpe|word_embeddings"
    return Family(sizes, layer, below, -1, side, "plain", decoder=True)


FAMILIES: dict[str, Family] = {
    "bert": Family({**_BERT_LIKE, "type_vocab_size": 2}, segments=True),
    "distilbert": Family(
        {
            "dim": 12,
            "n_layers": LAYERS,
            "n_heads": 2,
            "hidden_dim": 16,
            "max_position_embeddings": POSITIONS,
        }
    ),
    "electra": Family({**_BERT_LIKE, "embedding_size": 8}, segments=True),
    "roberta": Family(_ROBERTA_LIKE, pad=1),
    "xlm-roberta": Family(_ROBERTA_LIKE, pad=1),
    "mpnet": Family({**_BERT_LIKE, "max_position_embeddings": POSITIONS + 4}, pad=1),
    "albert": Family({**_BERT_LIKE, "embedding_size": 8}, segments=True),
    "deberta-v2": Family(
        {
            **_BERT_LIKE,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "type_vocab_size": 0,
        }
    ),
    "deberta": Family({**_BERT_LIKE, "type_vocab_size": 0}),
    "xlnet": Family(
        {"d_model": 12, "n_layer": LAYERS, "n_head": 2, "d_inner": 16},
        r"layer\.(\d+)\.",
        r"word_embedding",
        side="left",
        marks="xlnet",
        segments=True,
    ),
    "modernbert": Family(
        {**_BERT_LIKE, "global_attn_every_n_layers": 1, **dict.fromkeys(_ENDS, None)},
        below=r"embeddings",
    ),
    "convbert": Family({**_BERT_LIKE, "embedding_size": 12, "conv_kernel_size": 3}, segments=True),
    "fnet": Family({**_BERT_LIKE, "type_vocab_size": 4}, segments=True),
    "gpt2": _decoder(
        {"n_embd": 12, "n_layer": LAYERS, "n_head": 2, "n_inner": 16, "n_positions": POSITIONS},
        r"h\.(\d+)\.",
        "right",
    ),
    "gpt_neox": _decoder(_BERT_LIKE, side="right"),
    "llama": _decoder(_LLAMA_LIKE),
    "mistral": _decoder(_LLAMA_LIKE),
    "qwen3": _decoder(_LLAMA_LIKE),
    "gemma": _decoder(_LLAMA_LIKE),
    "phi": _decoder({**_BERT_LIKE, "partial_rotary_factor": 1.0}),
    "opt": _decoder(
        {
            "hidden_size": 12,
            "word_embed_proj_dim": 12,
            "ffn_dim": 16,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "max_position_embeddings": POSITIONS,
        },
    ),
    "openai-gpt": _decoder(
        {"n_embd": 12, "n_layer": LAYERS, "n_head": 2, "n_positions": POSITIONS},
        r"h\.(\d+)\.",
        "right",
    ),
}


def vocabulary(family: Family) -> list[str]:
    """The words, with the padding token where the family has it."""
    words = ["[CLS]", "[SEP]", "[UNK]", "[MASK]", *WORDS]
    place = len(words) if family.pad == -1 else family.pad
    return [*words[:place], "[PAD]", *words[place:]]


def tokenizer(
    family: Family, side: Side, padding: str | None, segments: bool
) -> PreTrainedTokenizerFast:
    """Word by word, with the family's special tokens.

    Args:
        family: whose marks are set.
        side: where rows are padded.
        padding: the padding token; None for a tokenizer without one.
        segments: whether it gives token types, though the family may know none.
    """
    places = {word: place for place, word in enumerate(vocabulary(family))}
    made = Tokenizer(models.WordLevel(places, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [(mark, places[mark]) for mark in ("[CLS]", "[SEP]")]
    if family.marks == "bert":
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
        )
    elif family.marks == "xlnet":
        made.post_processor = processors.TemplateProcessing(
            single="$A [SEP] [CLS]:2", pair="$A [SEP] $B:1 [SEP]:1 [CLS]:2", special_tokens=marks
        )
    names = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        padding_side=side,
        model_input_names=names,
        model_max_length=POSITIONS,
        **({"pad_token": padding} if padding else {}),
    )


def classifier(
    name: str,
    outputs: Sequence[str],
    seed: int,
    padding: str | None,
    problem: str | None = None,
) -> PreTrainedModel:
    """Random weights, large enough that every text has a distinct output."""
    family = FAMILIES[name]
    words = vocabulary(family)
    config = CONFIG_MAPPING[name](
        vocab_size=len(words) + SPARE,
        id2label=dict(enumerate(outputs)),
        label2id={label: place for place, label in enumerate(outputs)},
        pad_token_id=words.index(padding) if padding else None,
        problem_type=problem,
        **family.sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
        for tensor in model.parameters():
            tensor.data += 0.15 * torch.randn_like(tensor)
    return model.eval()


def save(model: PreTrainedModel, words: PreTrainedTokenizerFast, folder: Path, dtype: str) -> None:
    """As a checkpoint of this precision."""
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    words.save_pretrained(folder)
