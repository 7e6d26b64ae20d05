"""Malformed and unusual model folders."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.malformed.case import TAKEN, Case, Spoil
from benchmarks.malformed.folders import read_rows, write_rows
from benchmarks.malformed.spoils import (
    append,
    chain,
    config,
    edit,
    invert,
    remove,
    truncate,
    write,
)

DRY, DOCTOR = ("audit", "study.toml", "--dry-run"), ("doctor", "--study", "study.toml")
WEIGHTS = "model/model.safetensors"
GENERIC = {
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
}


def _save_as(dtype: torch.dtype) -> Spoil:
    def spoil(folder: Path) -> None:
        tensors = {name: t.to(dtype) for name, t in load_file(folder / WEIGHTS).items()}
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        config(dtype=str(dtype).removeprefix("torch."))(folder)

    return spoil


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "model/pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def _adapter(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model/adapter_model.safetensors")
    (folder / "model/config.json").unlink()
    text = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "../absent"})
    (folder / "model/adapter_config.json").write_text(text, "utf-8")


def _sharded(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    names = list(tensors)
    half = {name: tensors[name] for name in names[::2]}
    first, second = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    save_file(half, folder / "model" / first, {"format": "pt"})
    index = {name: first if name in half else second for name in names}
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    (folder / "model/model.safetensors.index.json").write_text(text, "utf-8")
    (folder / WEIGHTS).unlink()


def _headless(folder: Path) -> None:
    kept = {n: t for n, t in load_file(folder / WEIGHTS).items() if not n.startswith("classifier")}
    save_file(kept, folder / WEIGHTS, {"format": "pt"})


def _not_a_number(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["classifier.bias"][0] = torch.nan
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def _other_shapes(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["classifier.weight"] = torch.zeros(5, 16)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def _turned(folder: Path) -> None:
    turned = {"neg": "pos", "pos": "neg"}
    for name in ("train.csv", "queries.csv"):
        rows = [r | {"label": turned[r["label"]]} for r in read_rows(folder / name)]
        write_rows(folder / name, rows)
    config(**GENERIC)(folder)


def _moved(folder: Path) -> None:
    (folder / "model").rename(folder / "modle")


def _file_for_model(folder: Path) -> None:
    shutil.rmtree(folder / "model")
    (folder / "model").write_text("a file", "utf-8")


MODELS: tuple[Case, ...] = (
    Case("models", "weights in bfloat16", DRY, _save_as(torch.bfloat16),
         ("bfloat16", "float32"), codes=TAKEN),
    Case("models", "weights in bfloat16, doctor", DOCTOR, _save_as(torch.bfloat16),
         ("bfloat16", "float32"), codes=TAKEN),
    Case("models", "weights in half precision", DRY, _save_as(torch.float16),
         ("float16", "float32"), codes=TAKEN),
    Case("models", "weights in double precision", DRY, _save_as(torch.float64),
         ("float64", "float32"), codes=TAKEN),
    Case("models", "only pickled weights (.bin)", DRY, _pickled, ("model", "safetensors", ".bin"),
         ("hub",)),
    Case("models", "an adapter (LoRA)", DRY, _adapter, ("adapter", "base_model_name_or_path")),
    Case("models", "corrupt weights", DRY, truncate(WEIGHTS),
         ("model.safetensors", "damaged|corrupt|incomplete|truncated"), ("hub",)),
    Case("models", "weights that are no safetensors", DRY, write(WEIGHTS, b"version https://git"),
         ("model.safetensors", "git lfs|damaged|corrupt"), ("hub",)),
    Case("models", "a missing shard of the weights", DRY, _sharded,
         ("model-00002-of-00002.safetensors",), ("hub",)),
    Case("models", "no tokenizer", DRY,
         remove("model/tokenizer*", "model/vocab.txt"), ("tokenizer",), ("hub",)),
    Case("models", "an encoder without a head", DRY, _headless,
         ("classifier.weight", "head|train")),
    Case("models", "weights of other shapes", DRY, _other_shapes, ("shape", "config.json")),
    Case("models", "a weight that is no number", DRY, _not_a_number, ("classifier.bias", "finite")),
    Case("models", "a regression head", DRY, config(problem_type="regression"),
         ("regression", "problem_type")),
    Case("models", "several labels a row", DRY, config(problem_type="multi_label_classification"),
         ("multi_label_classification",)),
    Case("models", "labels in another order", DRY,
         edit('labels = ["neg", "pos"]', 'labels = ["pos", "neg"]'), ("order", "['neg', 'pos']")),
    Case("models", "LABEL_0, LABEL_1 in another order, doctor", DOCTOR, _turned,
         ("order", "labels", "%")),
    Case("models", "LABEL_0, LABEL_1 in another order, audit", ("audit", "study.toml"), _turned,
         ("order", "%"), codes=TAKEN, changes=True),
    Case("models", "three labels for two outputs", DRY,
         edit('["neg", "pos"]', '["neg", "pos", "other"]'), ("3 output units", "2")),
    Case("models", "no folder", DRY, _moved, ("no folder", "model")),
    Case("models", "no folder, named like a hub model", DRY, edit('"model"', '"out/model"'),
         ("no folder", "out/model"), ("HF_HUB_OFFLINE", "snapshot")),
    Case("models", "a file in the folder's place", DRY, _file_for_model, ("a file", "folder")),
    Case("models", "config.json cut", DRY, truncate("model/config.json"),
         ("config.json",), ("hub",)),
    Case("models", "config.json of an unknown family", DRY, config(model_type="blert"),
         ("blert",), ("remote code",)),
    Case("models", "remote code demanded", DRY,
         config(auto_map={"AutoModelForSequenceClassification": "m.M"}, model_type="own"),
         ("own", "transformers")),
    Case("models", "bytes of the weights changed", DRY,
         chain(invert(WEIGHTS, at=8)), ("model.safetensors", "damaged|corrupt"), ("hub",)),
    Case("models", "a base of training that is no model", ("train", "study.toml"),
         chain(append('[training]\nbase = "base"\n'), edit('path = "model"', 'path = "new"'),
               lambda folder: (folder / "base").mkdir()), ("base",)),
    Case("models", "max_length above the model's", DRY, edit("max_length = 16", "max_length = 99"),
         ("max_length", "99", "32")),
)  # fmt: skip
