"""Outputs of the frozen encoder for each text: of the first token, and their mean."""

import copy
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.review_loop.study import BASE, LABELS, MAX_LENGTH
from fastif.models.pretrained import quiet_loading

BATCH = 64


def load_classifier(seed: int) -> Any:
    """Return the encoder with the head of a seed, as `fastif train` starts."""
    torch.manual_seed(seed)
    with quiet_loading():
        model = AutoModelForSequenceClassification.from_pretrained(
            str(_base()), num_labels=len(LABELS), attn_implementation="eager"
        )
    return model.eval()


def make_head(seed: int) -> torch.nn.Sequential:
    """Return pooler and classifier of a seed: what the study trains, on a frozen encoder."""
    return copy.deepcopy(_load_head(seed))


@cache
def _load_head(seed: int) -> torch.nn.Sequential:
    model = load_classifier(seed)
    return torch.nn.Sequential(model.bert.pooler.dense, torch.nn.Tanh(), model.classifier)


@torch.no_grad()
def encode_texts(texts: list[str], folder: Path) -> tuple[Tensor, Tensor]:
    """Return the outputs of the first token, and the mean output, [n d] each; kept in a file."""
    path = folder / f"features-{len(texts)}.safetensors"
    if path.is_file():
        kept = load_file(path)
        return kept["first"], kept["mean"]
    model, tokenizer = load_classifier(0), AutoTokenizer.from_pretrained(str(_base()))
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    first, mean = (torch.empty(len(texts), model.config.hidden_size) for _ in range(2))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        batch = tokenizer(
            [texts[place] for place in places],
            truncation=True,
            max_length=MAX_LENGTH,
            padding=True,
            return_tensors="pt",
        )
        hidden = model.bert(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        first[places] = hidden[:, 0]
        mean[places] = (hidden * mask).sum(1) / mask.sum(1)
    save_file({"first": first, "mean": mean}, path)
    return first, mean


def _base() -> Path:
    return Path(str(files(BASE) / "model"))
