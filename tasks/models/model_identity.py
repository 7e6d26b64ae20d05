"""Identity of a saved model: architecture, labels, tokenizer and digest of its weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fastif.models.adapter_folder import ADAPTER_CONFIG
from tasks.models.json_object import read_json
from tasks.models.locate import hash_file

VOCABULARY = ("tokenizer.json", "vocab*", "merges*", "*.model")
"""Patterns of the files that determine the tokens of a text."""
CALL_SETTINGS = ("padding", "truncation")
"""Entries of tokenizer.json that hold the last call's settings and may differ in one training."""
LABELS = ("id2label", "label2id", "num_labels", "problem_type")
INCIDENTAL = (
    "_name_or_path",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "use_cache",
    "inference_mode",
    "peft_version",
)
"""Entries of a configuration that may differ between two savings of a model."""


@dataclass(frozen=True)
class ModelIdentity:
    """Properties that the checkpoints of one training share, and the digest of the weights.

    Attributes:
        architecture: Configuration without labels and incidental entries.
        labels: Entries of the configuration on labels.
        tensors: Shape of each saved tensor by name; empty if the weights cannot be read.
        tokenizer: Digest of each file that determines the tokens, by name.
        weights: Digest of each file of weights, by name.
    """

    architecture: Mapping[str, Any]
    labels: Mapping[str, Any]
    tensors: Mapping[str, tuple[int, ...]]
    tokenizer: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


def read_identity(folder: Path) -> ModelIdentity:
    """Read the identity of a saved model; files that are absent or unreadable are left out."""
    config = read_json(folder / "config.json")
    adapter = read_json(folder / ADAPTER_CONFIG)
    files = sorted(folder.glob("*.safetensors"))
    return ModelIdentity(
        {k: v for k, v in {**config, **adapter}.items() if k not in (*LABELS, *INCIDENTAL)},
        {k: v for k, v in config.items() if k in LABELS},
        {name: shape for file in files for name, shape in _read_shapes(file).items()},
        _hash_tokenizer(folder),
        {file.name: hash_file(file) for file in files},
    )


def compare_identities(model: ModelIdentity, other: ModelIdentity) -> str:
    """Return the first difference that makes `other` no checkpoint of the model; empty if none.

    A checkpoint without tokenizer has the model's.
    """
    if model.architecture != other.architecture:
        names = sorted(
            name
            for name in {*model.architecture, *other.architecture}
            if model.architecture.get(name) != other.architecture.get(name)
        )
        return f"of another architecture: {', '.join(names[:3])} in config.json differ"
    if model.labels != other.labels:
        return "its labels in config.json differ from the model's"
    if model.tensors != other.tensors:
        return "of another architecture: names or shapes of its weights differ"
    common = model.tokenizer.keys() & other.tokenizer.keys()
    if different := sorted(n for n in common if model.tokenizer[n] != other.tokenizer[n]):
        return f"its tokenizer differs from the model's: {different[0]}"
    return ""


def _read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, "pt") as tensors:
            names = tensors.keys()
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError):
        return {}


def _hash_tokenizer(folder: Path) -> dict[str, str]:
    paths = sorted({path for pattern in VOCABULARY for path in folder.glob(pattern)})
    return {path.name: _hash_vocabulary(path) for path in paths if path.is_file()}


def _hash_vocabulary(path: Path) -> str:
    content = read_json(path) if path.name == "tokenizer.json" else {}
    if not content:
        return hash_file(path)
    settings = {key: value for key, value in content.items() if key not in CALL_SETTINGS}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
