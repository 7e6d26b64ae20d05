"""Small studies of every kind of model, and what each model predicts without our code."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import own_package
import peft
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file
from small_decoder import write_base
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tasks.models.finetune import train_model
from tests.tasks import digits

TRAINED = {"batch_size": 8, "weight_decay": 0.0, "seed": 0, "checkpoints": []}


@dataclass
class ModelKind:
    """A study of one kind of model.

    Attributes:
        folder: Folder of the study.
        sections: Sections in which the study differs from the tiny one.
        compute_logits: Logits of the rows of `train` or `queries` that the saved model of a folder
            has by its own library.
        labels: Labels in the order of the outputs.
        training: Section of a training, for a model that can be trained.
        init: Arguments of `fastif init` after the tables.
    """

    folder: Path
    sections: dict[str, Any]
    compute_logits: Callable[[Path, str], Tensor]
    labels: list[str]
    training: dict[str, Any] = field(default_factory=dict)
    init: tuple[str, ...] = ()

    def write(self, **changes: dict | None) -> Path:
        """Write a study of this kind with other keys."""
        return tiny.write_study(self.folder, **{**self.sections, **changes})

    @property
    def tables(self) -> tuple[Path, Path]:
        """Tables of training rows and of queries."""
        sources = (self.sections.get(s, {}) for s in ("train", "queries"))
        defaults = ("train.csv", "queries.csv")
        return tuple(  # type: ignore[return-value]
            self.folder / source.get("table", default)
            for source, default in zip(sources, defaults, strict=True)
        )

    @property
    def model(self) -> Path:
        """Folder of the model."""
        return self.folder / self.sections.get("model", {}).get("path", "model")


def compute_text_logits(
    model: torch.nn.Module, tokenizer: Path, table: Path, length: int
) -> Tensor:
    """Logits of the text of each row alone."""
    encode = AutoTokenizer.from_pretrained(tokenizer)
    rows = []
    with torch.no_grad():
        for row in tiny.rows_of(table):
            tokens = encode(row["text"], truncation=True, max_length=length, return_tensors="pt")
            rows.append(model(tokens["input_ids"]).logits[0])
    return torch.stack(rows)


def load(folder: Path) -> torch.nn.Module:
    """The classifier of a folder, as transformers loads it."""
    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def _compute_classifier_logits(folder: Path, length: int, saved: Path, table: str) -> Tensor:
    return compute_text_logits(load(saved), saved, folder / f"{table}.csv", length)


def make_encoder(folder: Path) -> ModelKind:
    """A BERT of three layers."""
    tiny.make(folder)
    recipe = {"base": "base", "trainable": "last:1", "epochs": 2, "learning_rate": 3e-3}
    return ModelKind(
        folder,
        {"mislabels": {"encoder": "base"}},
        partial(_compute_classifier_logits, folder, tiny.MAX_LENGTH),
        tiny.LABELS,
        {**TRAINED, **recipe},
    )


def make_decoder(folder: Path) -> ModelKind:
    """A GPT-2 without a padding token."""
    folder.mkdir()
    tiny._write_rows(folder / "train.csv", "train", tiny.TRAIN, seed=0)
    tiny._write_rows(folder / "queries.csv", "query", tiny.QUERIES, seed=1)
    write_base(folder / "base", [row["text"] for row in tiny.rows_of(folder / "train.csv")])
    recipe = {"base": "base", "trainable": "all", "epochs": 2, "learning_rate": 0.01}
    kind = ModelKind(
        folder,
        {"model": {"max_length": 24}, "mislabels": {"encoder": "base"}},
        partial(_compute_classifier_logits, folder, 24),
        tiny.LABELS,
        {**TRAINED, **recipe},
    )
    train_model.fn(str(kind.write(training=kind.training)))
    return kind


def make_adapter(folder: Path) -> ModelKind:
    """A LoRA adapter on the BERT of three layers."""
    tiny.make(folder)
    recipe = {"base": "base", "epochs": 3, "learning_rate": 2e-2, "lora_rank": 2}

    def compute_logits(saved: Path, table: str) -> Tensor:
        settings = json.loads((saved / "adapter_config.json").read_text())
        base = load(Path(settings["base_model_name_or_path"]))
        model = peft.PeftModel.from_pretrained(base, str(saved)).eval()
        return compute_text_logits(model, saved, folder / f"{table}.csv", tiny.MAX_LENGTH)

    kind = ModelKind(
        folder,
        {
            "model": {"path": "adapter"},
            "parameters": {"attributed": "adapter"},
            "mislabels": {"encoder": "base"},
        },
        compute_logits,
        tiny.LABELS,
        {**TRAINED, **recipe},
    )
    train_model.fn(str(kind.write(training=kind.training)))
    return kind


def make_images(folder: Path) -> ModelKind:
    """A ViT on folders of images by class."""
    folder.mkdir()
    digits.write_image_study(folder)

    def compute_logits(saved: Path, table: str) -> Tensor:
        from transformers import AutoModelForImageClassification

        files = sorted((folder / table).rglob("*.png"))
        pixels = torch.from_numpy(np.stack([np.asarray(Image.open(f)) for f in files]))
        values = pixels.float()[:, None].expand(-1, 3, -1, -1) / 127.5 - 1
        with torch.no_grad():
            model = AutoModelForImageClassification.from_pretrained(saved).eval()
            return model(values).logits

    section = {"text": None, "image": "image", "label": "label", "id": "path"}
    return ModelKind(
        folder,
        {
            "top": {"labels": digits.LABELS},
            "model": {"path": "model", "max_length": None},
            "train": {"table": "train", **section},
            "queries": {"table": "queries", **section, "groups": None},
        },
        compute_logits,
        digits.LABELS,
        {**TRAINED, "base": "model", "trainable": "head", "epochs": 2, "learning_rate": 0.05},
    )


def make_own(folder: Path, patch: pytest.MonkeyPatch) -> ModelKind:
    """A torch module of an installed package."""
    folder.mkdir()
    own_package.install(folder, patch)
    _, train, queries = own_package.make_study(folder)
    tables = {"train": train, "queries": queries}

    def compute_logits(saved: Path, table: str) -> Tensor:
        network = own_package.Network(2).double()
        state = load_file(saved / "weights.safetensors")
        network.load_state_dict({name: tensor.double() for name, tensor in state.items()})
        with torch.no_grad():
            return torch.cat([network(**own_package.encode(row)).logits for row in tables[table]])

    factory = f"{own_package.NAME}:load"
    section = {"features": ["age", "income", "job"], "label": "label", "id": "id", "text": None}
    return ModelKind(
        folder,
        {
            "top": {"labels": own_package.LABELS},
            "model": {"path": "weights", "factory": factory, "max_length": None},
            "train": {"table": "train.parquet", **section},
            "queries": {"table": "queries.parquet", **section, "groups": None},
            "parameters": {"attributed": None},
        },
        compute_logits,
        own_package.LABELS,
        {**TRAINED, "base": "weights", "trainable": "all", "epochs": 2},
        ("--factory", factory, *(w for n in own_package.LABELS for w in ("--labels-order", n))),
    )
