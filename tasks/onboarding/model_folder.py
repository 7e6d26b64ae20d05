"""Folder of a trained model: its checkpoint, label names, and what is recorded of its training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastif import InputError
from fastif.models.adapter_folder import ADAPTER_CONFIG, AdapterFolder, is_adapter
from fastif.models.foreign_folder import find_foreign_model
from tasks.models.image_config import is_image_config
from tasks.models.locate import fetch_hub_model
from tasks.models.training_record import RECORD_FILE
from tasks.study.fields import HUB

CONFIG, STATE = "config.json", "trainer_state.json"


@dataclass(frozen=True)
class ModelFolder:
    """Model that a study is written for.

    Attributes:
        name: Folder as given, or `hub:owner/name`.
        folder: Folder of the model's files.
        names: Names of the outputs, in order.
        note: Explanation of the chosen checkpoint; empty if there was no choice.
        recipe: Settings of the training that are recorded, by the key of `[training]`.
        max_length: Number of tokens that is recorded; None if it is not.
        reads_images: Whether it is an image classifier.
        is_adapter: Whether it is a LoRA adapter of a base.
    """

    name: str
    folder: Path
    names: tuple[str, ...]
    note: str = ""
    recipe: Mapping[str, Any] | None = None
    max_length: int | None = None
    reads_images: bool = False
    is_adapter: bool = False


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds a model, an adapter, or checkpoints of a training."""
    if not path.is_dir():
        return False
    own = any((path / name).is_file() for name in (CONFIG, ADAPTER_CONFIG, "model.safetensors"))
    return own or bool(_list_checkpoints(path))


def open_model(name: str, has_classes: bool = True) -> ModelFolder:
    """Find the checkpoint of a model and read its configuration; no weights are loaded.

    Args:
        name: Folder of a model or of a training with checkpoints, or `hub:owner/name`.
        has_classes: Whether rows have one class each; models of other targets are refused then.

    Raises:
        InputError: The folder holds no classifier that can be audited.
    """
    if name.startswith(HUB) and not Path(name).exists():
        folder, note = fetch_hub_model(name.removeprefix(HUB), "MODEL"), ""
    else:
        folder, note = _find_checkpoint(Path(name))
        name = str(folder)
    config = _read_config(folder)
    names = _read_names(config, folder, has_classes)
    record = _read_json(folder / RECORD_FILE).get("study") or {}
    max_length = record.get("max_length") if isinstance(record, dict) else None
    recipe = _read_recipe(folder, config)
    return ModelFolder(
        name, folder, names, note, recipe, max_length, is_image_config(config), is_adapter(folder)
    )


def _find_checkpoint(path: Path) -> tuple[Path, str]:
    """Return the folder itself, or the best or else the newest checkpoint in it, and a note."""
    if _holds_model(path) or not (checkpoints := _list_checkpoints(path)):
        return path, ""
    newest = checkpoints[-1]
    best = _read_json(newest / STATE).get("best_model_checkpoint")
    chosen = [folder for folder in checkpoints if best and folder.name == Path(str(best)).name]
    if chosen:
        metric = _read_json(newest / STATE).get("best_metric")
        reason = "the best by its trainer_state.json" + (f" ({metric:.4g})" if metric else "")
    else:
        reason = "the newest"
    folder = (chosen or [newest])[0]
    others = len(checkpoints) - 1
    return folder, f"{folder.name} is {reason} of {others + 1} checkpoints" if others else ""


def _list_checkpoints(path: Path) -> list[Path]:
    """Return the checkpoints of a training in the order of their steps."""
    folders = [f for f in path.glob("checkpoint-*") if _holds_model(f)]
    return sorted(folders, key=lambda folder: (_read_step(folder.name), folder.name))


def _holds_model(path: Path) -> bool:
    return (path / CONFIG).is_file() or is_adapter(path)


def _read_step(name: str) -> float:
    try:
        return float(name.removeprefix("checkpoint-"))
    except ValueError:
        return -1.0


def _read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a classifier.

    Raises:
        InputError: There is none, it is that of an encoder, or of an adapter that cannot be read.
    """
    if is_adapter(folder):
        return AdapterFolder(folder).read_model_config()
    where, expected = f"MODEL {folder}", "the folder of a trained classifier, with its config.json"
    foreign = find_foreign_model(folder)
    if not (folder / CONFIG).is_file():
        if foreign is not None:
            raise InputError(where, expected, foreign.kind, foreign.remedy)
        remedy = "Save model and tokenizer there with save_pretrained, or name another folder."
        raise InputError(where, expected, "a folder without config.json", remedy)
    config = _read_json(folder / CONFIG)
    if is_image_config(config):
        return config
    kinds = [str(kind) for kind in config.get("architectures") or []]
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        if foreign is not None:
            raise InputError(where, expected, foreign.kind, foreign.remedy)
        remedy = (
            "Name the fine-tuned classifier (AutoModelForSequenceClassification, or "
            "AutoModelForImageClassification). Without one, "
            "leave MODEL out: wrong labels are found without a model."
        )
        raise InputError(where, expected, f"a {kinds[0]}, without a head for labels", remedy)
    return config


def _read_names(
    config: Mapping[str, Any], folder: Path, has_classes: bool = True
) -> tuple[str, ...]:
    """Return the names of the outputs, LABEL_0, LABEL_1, ... if the configuration has none.

    Raises:
        InputError: A regression, or a model for several labels a row.
    """
    names = config.get("id2label") or dict(enumerate(config.get("label_names") or []))
    names = {str(unit): name for unit, name in names.items()}
    count = len(names) or int(config.get("num_labels") or config.get("num_classes") or 2)
    problem = config.get("problem_type")
    if has_classes and (count < 2 or problem not in (None, "single_label_classification")):
        got = f"problem_type {problem!r}" if problem else "a single output unit (regression)"
        remedy = "State the kind of target: --target, see docs/guides/targets.md."
        raise InputError(f"MODEL {folder}", "a classifier with one label for each row", got, remedy)
    units = config.get("label2id") or {}
    if not names and len(units) == count:
        names = {str(unit): name for name, unit in units.items()}
    return tuple(str(names.get(str(unit), f"LABEL_{unit}")) for unit in range(count))


def _read_recipe(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded settings of the training; a pickled training_args.bin is never read."""
    recipe = _read_lora_recipe(folder) if is_adapter(folder) else {}
    base = config.get("_name_or_path")
    if "base" not in recipe and isinstance(base, str) and base and not Path(base).exists():
        recipe["base"] = f"{HUB}{base}" if base.count("/") <= 1 and "\\" not in base else base
    state = _read_json(folder / STATE)
    epochs, batch = state.get("num_train_epochs"), state.get("train_batch_size")
    if isinstance(epochs, int | float) and epochs >= 1 and epochs == int(epochs):
        recipe["epochs"] = int(epochs)
    rates = [entry.get("learning_rate") for entry in state.get("log_history") or []]
    rates = [rate for rate in rates if isinstance(rate, float) and rate > 0]
    if rates:
        recipe["learning_rate"] = max(rates)
    if isinstance(batch, int) and batch >= 1:
        recipe["batch_size"] = batch
    return recipe


def _read_lora_recipe(folder: Path) -> dict[str, Any]:
    """Return the base and the settings of an adapter by the key of `[training]`."""
    settings = AdapterFolder(folder).resolved_settings
    base, targets = settings["base_model_name_or_path"], settings.get("target_modules")
    revision = f"@{settings['revision']}" if settings.get("revision") else ""
    recipe = {
        "base": base if Path(base).is_dir() else f"{HUB}{base}{revision}",
        "lora_rank": settings.get("r"),
        "lora_alpha": settings.get("lora_alpha"),
        "lora_targets": sorted(targets) if isinstance(targets, list) else targets,
    }
    return {key: entry for key, entry in recipe.items() if entry}


def _read_json(path: Path) -> dict[str, Any]:
    """Read an object; empty if there is none."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
