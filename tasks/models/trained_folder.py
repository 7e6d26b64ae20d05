"""Folder that `fastif train` writes: its model, checkpoints of the training, and their records."""

import json
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from transformers import PreTrainedModel

from fastif import InputError
from fastif.models.padding import restored_padding_token
from fastif.models.parameters import Params
from fastif.models.save_classifier import save_classifier
from storage.atomic import count_free_bytes
from tasks.models.json_object import read_json
from tasks.models.locate import compute_model_digest
from tasks.models.training_record import RECORD_FILE, TRAINING_ROWS_FILE
from tasks.runtime.versions import read_versions
from tasks.study.training_section import Training

AUTO_FRACTIONS = (0.125, 0.25, 0.5)
"""Fractions of the training with a checkpoint if a study states none. Which of them predict
retraining better than the final weights differs by workload: docs/concepts/several-models.md."""

ADAPTER_SHARE = 0.1
"""Share of a base's size that an adapter and its head take at most, for the room on disk."""

ABANDONED_SECONDS = 2 * 24 * 3600
"""Age at which the hidden folder of a training that has not finished counts as left behind."""


def checkpoint_name(fraction: float) -> str:
    """Return the name of the subfolder of an intermediate checkpoint.

    Args:
        fraction: Fraction of the training steps, 0 to 1.

    Examples:
        >>> checkpoint_name(0.25)
        'checkpoint-0.25'
    """
    return f"checkpoint-{fraction:g}"


def find_matching_record(
    folder: Path, fingerprint: str, fractions: Collection[float]
) -> dict[str, Any] | None:
    """Return the record of a trained model that is unchanged and has these checkpoints, else None.

    Args:
        folder: Folder of the model.
        fingerprint: Fingerprint of the training.
        fractions: Fractions of the training whose checkpoints must be there and unchanged.
    """
    checkpoints = [folder / checkpoint_name(fraction) for fraction in fractions]
    if any(read_matching_record(path, fingerprint) is None for path in checkpoints):
        return None
    return read_matching_record(folder, fingerprint)


def read_matching_record(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the record of a saved model if it is of this training and its files are unchanged."""
    record = read_json(folder / RECORD_FILE)
    is_same = record.get("fingerprint") == fingerprint and record.get(
        "model_digest"
    ) == compute_model_digest(folder)
    return record if is_same else None


def check_replaceable(folder: Path) -> None:
    """Refuse a folder with files that `fastif train` did not write.

    Raises:
        InputError: It is a file, or holds other files.
    """
    if folder.exists() and not folder.is_dir():
        remedy = "Choose a new folder, or move this file."
        raise InputError(f"[model] path {folder}", "a folder", "a file", remedy)
    if folder.exists() and not (folder / RECORD_FILE).exists() and any(folder.iterdir()):
        raise InputError(
            f"[model] path {folder}",
            "a new folder, or one that `fastif train` wrote",
            "a folder with other files",
            "Choose another folder, or move these files.",
        )


def remove_abandoned(folder: Path) -> None:
    """Remove the hidden folders that killed trainings of a model left next to it.

    Those that were written to within two days stay, since their training may be running.
    """
    for path in folder.parent.glob(f".{folder.name}.*.tmp"):
        newest = max((file.stat().st_mtime for file in (path, *path.rglob("*"))), default=0.0)
        if path.is_dir() and time.time() - newest > ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def select_fractions(
    training: Training, steps: int, folder: Path, base: Path
) -> tuple[tuple[float, ...], str]:
    """Select the checkpoints to save: those of the study, or for "auto" those with room on disk.

    Args:
        training: Section `[training]` of the study.
        steps: Number of training steps.
        folder: Folder of the model that is written.
        base: Folder of the base model, for its size.

    Returns:
        Fractions of the training, and a sentence on the disk that they take.

    Raises:
        InputError: The disk has no room for the model and the checkpoints that the study states.
    """
    size = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    if training.lora_rank is not None:
        size = int(size * ADAPTER_SHARE)
    free = count_free_bytes(folder)
    _check_room((1 + len(training.stated_checkpoints)) * size, free, folder)
    if training.checkpoints != "auto":
        return training.checkpoints, describe_checkpoints(training.checkpoints, size)
    fractions = _drop_repeated_steps(AUTO_FRACTIONS, steps)
    if (1 + len(fractions)) * size > free:
        note = (
            f"No checkpoints were kept: {len(fractions)} of them take {format_size(size)} each, "
            f"and {format_size(free)} are free. Free some space, delete the "
            "model's folder and train again; or state checkpoints = [] under [training]."
        )
        return (), note
    return fractions, describe_checkpoints(fractions, size)


def describe_checkpoints(fractions: Sequence[float], size: float) -> str:
    """Return a sentence on kept checkpoints; empty if there are none.

    Args:
        fractions: Fractions of the training.
        size: Bytes of one checkpoint.

    Examples:
        >>> describe_checkpoints((0.25, 0.5), 90e6)
        'Checkpoints at 0.25, 0.5 of the training: 180.0 MB.'
    """
    if not fractions:
        return ""
    names = ", ".join(f"{fraction:g}" for fraction in fractions)
    return f"Checkpoints at {names} of the training: {format_size(len(fractions) * size)}."


def format_size(size: float) -> str:
    """Return a number of bytes in MB.

    Examples:
        >>> format_size(1.5e6)
        '1.5 MB'
    """
    return f"{size / 1e6:,.1f} MB"


def _drop_repeated_steps(fractions: Sequence[float], steps: int) -> tuple[float, ...]:
    """Return the fractions that fall on different steps before the last one."""
    positions = {max(1, round(fraction * steps)): fraction for fraction in fractions}
    return tuple(sorted(fraction for step, fraction in positions.items() if step < steps))


def _check_room(needed: float, free: float, folder: Path) -> None:
    if needed > free:
        raise InputError(
            f"[model] path {folder}",
            f"room for about {format_size(needed)}",
            f"{format_size(free)} free",
            "Free some space, or choose a folder on another disk.",
        )


def load_parameters(model: PreTrainedModel, params: Params) -> None:
    """Copy named parameters into a model in place; its other parameters stay."""
    model.load_state_dict(dict(params), strict=False)


def save_model(
    model: PreTrainedModel,
    tokenizer: object,
    folder: Path,
    record: dict[str, Any],
    contents: pl.DataFrame,
) -> None:
    """Write a model with its record and the content digests of its training rows.

    Args:
        model: Trained model.
        tokenizer: Tokenizer that is saved with it.
        folder: Folder to write to.
        record: Entries of the record; the model's digest and the versions are added.
        contents: Content digest and label of each training row.
    """
    with restored_padding_token(model):
        save_classifier(model, folder)
    tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    entries = {**record, "model_digest": compute_model_digest(folder), "versions": read_versions()}
    (folder / RECORD_FILE).write_text(json.dumps(entries, indent=2) + "\n")
    contents.write_parquet(folder / TRAINING_ROWS_FILE)
