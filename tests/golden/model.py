"""Tiny BERT classifiers whose files have the same bytes on every machine."""

import json
import random
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel

WORDS = [
    *("good", "great", "fine", "bright", "fast"),
    *("bad", "boring", "awful", "dull", "slow"),
    *("film", "plot", "actor", "the", "a", "was", "is", "very", "not"),
]
GOOD, BAD = WORDS[:5], WORDS[5:10]
LABELS = ["neg", "pos"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
    "dtype": "float32",
}
HEAD = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}


def write_classifier(folder: Path, seed: int) -> None:
    """A classifier with random weights, and its tokenizer."""
    config = {**CONFIG, **HEAD, "architectures": ["BertForSequenceClassification"]}
    _write(folder, config, BertForSequenceClassification(BertConfig(**CONFIG)), seed)


def write_base(folder: Path, seed: int) -> None:
    """The same without a head: what training starts from, or what reads texts."""
    config = {**CONFIG, "architectures": ["BertModel"]}
    _write(folder, config, BertModel(BertConfig(**CONFIG)), seed)


def _write(folder: Path, config: dict, model: torch.nn.Module, seed: int) -> None:
    folder.mkdir(parents=True)
    weights = {name: _fractions(name, of, seed) for name, of in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tokenizer = {"tokenizer_class": "BertTokenizer", "model_max_length": 24, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=1) + "\n")


def _fractions(name: str, like: torch.Tensor, seed: int) -> torch.Tensor:
    """Multiples of 1/256 that Python's generator draws: exact, and the same for ever."""
    if not like.is_floating_point():
        return like.clone()
    draw = random.Random(f"{seed} {name.removeprefix('bert.')}")
    values = [draw.randint(-160, 160) / 256 for _ in range(like.numel())]
    tensor = torch.tensor(values).reshape(like.shape)
    return tensor / 4 + 1 if name.endswith("LayerNorm.weight") else tensor
