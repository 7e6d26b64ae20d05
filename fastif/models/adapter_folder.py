"""Folder of a saved PEFT adapter: its kind, its base and the labels of its head, without torch."""

import json
import logging
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fastif.errors import InputError
from fastif.models.hub_snapshot import HubError, fetch_snapshot, is_offline

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LABEL_KEYS = ("id2label", "label2id", "num_labels", "problem_type")
SAVED_PREFIX = "base_model.model."
"""Prefix of the names of saved tensors, before the name in the base model."""
MERGE = "Save the whole model in place of the adapter: `merge_and_unload().save_pretrained(...)`."

FREE_KEYS = frozenset({
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "exclude_modules",
    "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "lora_alpha", "lora_bias", "lora_dropout", "modules_to_save",
    "peft_type", "peft_version", "r", "rank_pattern", "revision", "target_modules", "task_type",
    "use_rslora",
})  # fmt: skip
"""Settings of an ordinary LoRA adapter, with any value."""
IDLE_VALUES = {"megatron_core": "megatron.core", "qalora_group_size": 16}
"""Values of other settings that change nothing; so do null, false and empty ones."""
INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the weights of the base as they are."""

logger = logging.getLogger(__name__)


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (Path(folder) / ADAPTER_CONFIG).is_file()


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer."""
    names = ("tokenizer_config.json", "tokenizer.json")
    return any((folder / name).is_file() for name in names)


class AdapterFolder:
    """Folder of a LoRA adapter of a classifier, as PEFT saves it.

    Args:
        folder: Folder with `adapter_config.json` and `adapter_model.safetensors`.

    Attributes:
        settings: Content of `adapter_config.json`.

    Raises:
        InputError: If files are missing or damaged, the weights are pickled, or the adapter is not
            a LoRA adapter of a sequence classifier.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.where = f"adapter {folder}"
        self.settings = self._read_settings()
        check_kind(self.settings, self.where)
        self._check_files()

    @cached_property
    def base_folder(self) -> Path:
        """Folder of the base: absolute, relative to the adapter or else to the working directory.

        A name of the Hugging Face hub is that of its cache, or downloaded, at the `revision` of the
        adapter's settings; weights as safetensors only.

        Raises:
            InputError: If the base cannot be found, or is an adapter.
        """
        folder = self._find_base()
        if is_adapter(folder):
            raise self._make_base_error("an adapter itself", f"Merge it into its base. {MERGE}")
        if not (folder / "config.json").is_file():
            raise self._make_base_error(f"a folder without config.json, {folder}")
        return folder

    @property
    def quantisation(self) -> dict[str, Any]:
        """Entry `quantization_config` of the base; empty for one of floating point."""
        return read_object(self.base_folder / "config.json").get("quantization_config") or {}

    @property
    def resolved_settings(self) -> dict[str, Any]:
        """Content of `adapter_config.json`, with the absolute path of a base that is a folder."""
        name = str(self.settings["base_model_name_or_path"])
        is_local = self._find_local_base(name) is not None
        return {
            **self.settings,
            "base_model_name_or_path": str(self.base_folder) if is_local else name,
        }

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each saved tensor by name, from the header of the weights."""
        return read_tensor_shapes(self.folder / ADAPTER_WEIGHTS)

    @property
    def tokenizer_folder(self) -> Path:
        """Folder of the tokenizer: the adapter's, or else the base's."""
        return self.folder if has_tokenizer(self.folder) else self.base_folder

    def read_labels(self) -> dict[str, Any]:
        """Read the labels of the head: those next to the adapter, or else the base's.

        PEFT saves no labels. Without a `config.json` next to the adapter, the base's names are used
        if they are as many as the outputs of the saved head, and LABEL_0, LABEL_1, ... otherwise.

        Returns:
            Entries `id2label`, `label2id` and perhaps `problem_type` of a configuration.
        """
        count = self._count_outputs()
        for folder in (self.folder, self.base_folder):
            config = read_object(folder / "config.json")
            names = config.get("id2label") or {}
            if names and count in (None, len(names)):
                labels = {key: config[key] for key in LABEL_KEYS if config.get(key) is not None}
                return _with_integer_units(labels)
        names = {unit: f"LABEL_{unit}" for unit in range(count or 2)}
        return {"id2label": names, "label2id": {name: unit for unit, name in names.items()}}

    def read_model_config(self) -> dict[str, Any]:
        """Return the configuration of the base with the labels of the adapter."""
        base = read_object(self.base_folder / "config.json")
        rest = {key: entry for key, entry in base.items() if key not in LABEL_KEYS}
        labels = self.read_labels()
        names = {str(unit): name for unit, name in labels["id2label"].items()}
        return {**rest, **labels, "id2label": names}

    def _count_outputs(self) -> int | None:
        """Return the number of outputs of the saved head; None if no head is saved.

        The last layer of a head is the saved matrix with the fewest rows. A wrong number is refused
        with the weights, whose shapes differ then.
        """
        matrices = [
            shape
            for name, shape in self.shapes.items()
            if len(shape) == 2 and "lora_" not in name and name.endswith(".weight")
        ]
        return min((rows for rows, _ in matrices), default=None)

    def _read_settings(self) -> dict[str, Any]:
        settings = read_object(self.folder / ADAPTER_CONFIG)
        if not settings:
            raise InputError(
                self.where,
                f"{ADAPTER_CONFIG} as PEFT writes it",
                "a file that holds no JSON object",
                "Copy it again from where the adapter was saved, or save the adapter again.",
            )
        return settings

    def _check_files(self) -> None:
        if any((self.folder / name).is_file() for name in _WHOLE_MODEL):
            raise InputError(
                self.where,
                "an adapter or a whole model",
                "both in one folder",
                "Move one of them to a folder of its own.",
            )
        if (self.folder / ADAPTER_WEIGHTS).is_file():
            return
        has_pickle = any(self.folder.glob("adapter_model*.bin"))
        raise InputError(
            self.where,
            ADAPTER_WEIGHTS,
            "pickled weights, adapter_model.bin" if has_pickle else "no such file",
            "Save the adapter as safetensors: pickled weights are never read."
            if has_pickle
            else "Save the adapter again with save_pretrained, or name another folder.",
        )

    def _find_base(self) -> Path:
        name = self.settings.get("base_model_name_or_path")
        if not isinstance(name, str) or not name.strip():
            raise self._make_base_error("none")
        if (folder := self._find_local_base(name)) is not None:
            return folder
        if _HUB_NAME.fullmatch(name) and not name.startswith("."):
            return self._fetch_base(name)
        raise self._make_base_error(f"no folder {name}")

    def _find_local_base(self, name: str) -> Path | None:
        """Return the folder that a name means, from the adapter, the file of a link, or here."""
        linked = (self.folder / ADAPTER_CONFIG).resolve().parent
        for start in (self.folder, linked, Path()):
            if (start / Path(name).expanduser()).is_dir():
                return (start / Path(name).expanduser()).resolve()
        return None

    def _fetch_base(self, name: str) -> Path:
        if not is_offline():
            logger.warning("%s: its base %s comes from the Hugging Face hub.", self.where, name)
        try:
            return fetch_snapshot(name, self.settings.get("revision"))
        except HubError as error:
            change = (
                f"Download the base where there is a network (`hf download {name}`), or write the "
                f"folder of a copy to base_model_name_or_path in {ADAPTER_CONFIG}."
            )
            raise self._make_base_error(str(error), change) from error

    def _make_base_error(self, got: str, change: str = "", expected: str = "") -> InputError:
        return InputError(
            self.where,
            expected or "its base model, a folder or a name of the Hugging Face hub",
            got,
            change or f"Correct base_model_name_or_path in its {ADAPTER_CONFIG}.",
        )


_WHOLE_MODEL = ("model.safetensors", "model.safetensors.index.json")
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def check_kind(settings: Mapping[str, Any], where: str) -> None:
    """Refuse adapters of other kinds than LoRA, and of other tasks than sequence classification.

    Raises:
        InputError: With the kind, or the setting that makes another kind of it.
    """
    expected = "a LoRA adapter of a sequence classifier"
    kind, task = settings.get("peft_type"), settings.get("task_type")
    if kind != "LORA":
        got = f"peft_type {kind!r}"
    elif task not in (None, "SEQ_CLS"):
        got = f"task_type {task!r}"
    elif settings.get("init_lora_weights", True) not in INITIALISATIONS:
        got = f"init_lora_weights {settings['init_lora_weights']!r}, which changes the base"
    else:
        used = [key for key in sorted(settings) if _is_in_use(key, settings[key])]
        if not used:
            return
        got = f"LoRA with {used[0]} = {settings[used[0]]!r}"
    raise InputError(where, expected, got, MERGE)


def _is_in_use(key: str, entry: object) -> bool:
    """Whether a setting makes another kind of adapter than ordinary LoRA."""
    return key not in FREE_KEYS and bool(entry) and IDLE_VALUES.get(key) != entry


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is absent or holds none."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def read_tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shape of each tensor from the header of a safetensors file; empty if damaged."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, path.stat().st_size)))
        shapes = {
            name: tuple(map(int, entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return shapes


def _with_integer_units(labels: dict[str, Any]) -> dict[str, Any]:
    """Return label entries with output units as integers, as a configuration in memory has them."""
    names = {int(unit): str(name) for unit, name in labels.pop("id2label").items()}
    units = labels.pop("label2id", None) or {name: unit for unit, name in names.items()}
    labels.pop("num_labels", None)
    return {"id2label": names, "label2id": units, **labels}
