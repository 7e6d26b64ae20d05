"""Tiny classifiers with LoRA adapters, saved by PEFT itself."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import torch
from cases import config
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

RANK = 2


def adapted_config(family: str) -> PreTrainedConfig:
    """A tiny configuration, of Llama too."""
    if family != "llama":
        return config(family)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1}
    return LlamaConfig(
        vocab_size=40,
        num_hidden_layers=3,
        intermediate_size=12,
        num_labels=3,
        pad_token_id=0,
        initializer_range=0.4,
        **sizes,
    )


def make_base(folder: Path, family: str, **labels: Any) -> PreTrainedModel:
    """A saved random classifier, whose weights are drawn wide."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        settings = adapted_config(family)
        settings.update(labels)
        model = AutoModelForSequenceClassification.from_config(
            settings, attn_implementation="eager"
        )
        for tensor in model.parameters():
            tensor.data += 0.1 * torch.randn_like(tensor)
    model.save_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")


def make_adapted(folder: Path, family: str = "bert", **settings: Any) -> peft.PeftModel:
    """A PEFT model on a saved base, with matrices that are not zero; saved in `adapter`."""
    base = make_base(folder / "base", family)
    options = {"task_type": "SEQ_CLS", "r": RANK, "lora_alpha": 3, "lora_dropout": 0.5, **settings}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        adapted = peft.get_peft_model(base, peft.LoraConfig(**options))
        for tensor in adapted.parameters():
            if tensor.requires_grad:
                tensor.data += 0.3 * torch.randn_like(tensor)
    adapted.save_pretrained(folder / "adapter")
    return adapted.eval()


@contextlib.contextmanager
def changed_settings(folder: Path) -> Iterator[dict[str, Any]]:
    """Settings of a saved adapter, written back when the block ends."""
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    yield settings
    path.write_text(json.dumps(settings))


@contextlib.contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    """Another working directory within the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
