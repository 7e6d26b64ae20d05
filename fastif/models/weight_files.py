"""Files of a saved model that cannot be read, and the remedy for each kind of damage."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from fastif.errors import InputError
from fastif.models.foreign_folder import find_foreign_model

FLOATS = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""Floating-point types by their names in safetensors."""

LFS_POINTER = b"version https://git-lfs"
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""File of the weights, and the index of those that are split into shards."""


@dataclass(frozen=True)
class DamagedFile:
    """File of a saved model that cannot be read.

    Attributes:
        name: Name of the file in the model's folder.
        reason: Kind of damage.
        remedy: Change that makes it readable, a full sentence.
    """

    name: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def find_damaged_file(folder: Path) -> DamagedFile | None:
    """Return the first file of a model's folder that cannot be read; None if there is none.

    Inspected are the configuration, the shards that the index lists, and the header and length of
    each file of weights.

    Raises:
        OSError: A file may not be read.
    """
    return next(_list_damaged_files(folder), None)


def _list_damaged_files(folder: Path) -> Iterator[DamagedFile]:
    again = "Copy it again from where the model was saved, or save the model again."
    for name in ("config.json", INDEX):
        path = folder / name
        try:
            content = json.loads(path.read_bytes()) if path.is_file() else {}
        except ValueError as error:
            yield DamagedFile(name, f"damaged, no JSON ({error})", again)
            continue
        shards = content.get("weight_map", {}) if isinstance(content, dict) else {}
        is_read = name == INDEX and not (folder / WHOLE).is_file()
        for shard in sorted(set(shards.values())) if is_read else ():
            if not (folder / shard).is_file():
                yield DamagedFile(shard, f"missing, though {INDEX} lists it", again)
    for path in _list_weight_files(folder):
        with path.open("rb") as file:
            start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            pull = "Run `git lfs pull` where the model was cloned."
            yield DamagedFile(path.name, "a Git LFS pointer in place of the weights", pull)
            continue
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            yield DamagedFile(path.name, f"damaged or incomplete ({error})", again)


def suggest_remedy(folder: Path) -> str:
    """Return a remedy for a folder that cannot be loaded."""
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        return "Save its weights as safetensors: pickled ones (.bin) are never read."
    foreign = find_foreign_model(folder)
    if foreign is not None:
        return f"It is {foreign.kind}. {foreign.remedy}"
    family = _read_family(folder)
    if family and family not in CONFIG_MAPPING:
        return (
            f"transformers {transformers.__version__} has no models of type {family!r}: install a "
            "version that has them. Code in a model's folder is never run."
        )
    if folder.is_dir():
        return "Save model and tokenizer there again with save_pretrained, or correct the path."
    return "Check the path; without a network, download the model to a folder and name that."


def suggest_classifier(folder: Path) -> str:
    """Return the remedy of a model without a trained head for labels."""
    foreign = find_foreign_model(folder)
    if foreign is not None:
        return f"It is {foreign.kind}. {foreign.remedy}"
    return "Name a fine-tuned classifier, or train one with `fastif train`."


def _read_family(folder: Path) -> str:
    """Return `model_type` of a folder's configuration; empty if there is none."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(config.get("model_type") or "") if isinstance(config, dict) else ""


def saved_dtypes(folder: Path) -> tuple[torch.dtype, ...]:
    """Return the floating-point types in which the weights in a folder were saved."""
    types = set(_read_weight_types(folder).values())
    return tuple(dtype for name, dtype in FLOATS.items() if name in types)


def check_weight_types(folder: Path, parameters: Collection[str]) -> None:
    """Refuse weights that are not floating-point numbers of 16 bits or more.

    Whole numbers and numbers of 8 bits need scales that a quantisation saved elsewhere; read as
    they are, they would give another model. Buffers, such as positions and masks, may be whole.

    Args:
        folder: Folder of a saved model.
        parameters: Names of the model's parameters.

    Raises:
        InputError: A parameter was saved in such a type.
    """
    for name, kind in _read_weight_types(folder).items():
        if kind not in FLOATS and any(_is_saved_as(p, name) for p in parameters):
            raise InputError(
                f"model {folder}",
                "weights of 16, 32 or 64 bits",
                f"{name} of type {kind}",
                "It is quantised: use the model as it was before, or save it dequantised.",
            )


def _is_saved_as(parameter: str, name: str) -> bool:
    """Whether names are equal, but for the prefix of the base model that either may have."""
    return f".{parameter}".endswith(f".{name}") or f".{name}".endswith(f".{parameter}")


def _list_weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights; any others next to them are not read."""
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    return sorted(folder.glob("*.safetensors"))


def _read_weight_types(folder: Path) -> dict[str, str]:
    """Return the type of each saved tensor by its name, as safetensors names it."""
    types: dict[str, str] = {}
    for path in _list_weight_files(folder):
        with safe_open(path, "pt") as file:
            names = file.keys()
            types |= {name: file.get_slice(name).get_dtype() for name in names}
    return types
