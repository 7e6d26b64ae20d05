"""Classifiers saved to a folder: whole models, and LoRA adapters as PEFT saves them."""

import json
from pathlib import Path

from safetensors.torch import save_file
from transformers import PreTrainedModel

from fastif.models.adapter import get_adapter
from fastif.models.adapter_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS


def save_adapter(model: PreTrainedModel, folder: Path, base: str | None = None) -> None:
    """Save the adapter of a classifier as PEFT does, with a `config.json` that has the labels.

    Args:
        model: Classifier with an adapter.
        folder: Folder to write to.
        base: Name or folder of the base; that of its settings if omitted.
    """
    adapter = get_adapter(model)
    assert adapter is not None
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**adapter.settings, "inference_mode": True}
    if base is not None:
        settings["base_model_name_or_path"] = base
    text = json.dumps(settings, indent=2, sort_keys=True)
    (folder / ADAPTER_CONFIG).write_text(text + "\n", "utf-8")
    parameters = dict(model.named_parameters())
    tensors = {
        saved: parameters[name].detach().cpu().contiguous()
        for name, saved in adapter.saved_names.items()
    }
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    model.config.save_pretrained(folder)


def save_classifier(model: PreTrainedModel, folder: Path) -> None:
    """Save a classifier, or its adapter alone if it has one."""
    if get_adapter(model) is None:
        model.save_pretrained(folder, safe_serialization=True)
    else:
        save_adapter(model, folder)
