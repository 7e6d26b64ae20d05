"""Models of a Python session: classifiers and trainers, saved to a folder and left unchanged."""

import shutil
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from fastif import InputError
from fastif.models.adapter import get_adapter, unwrap_adapter
from fastif.models.pretrained import quiet_loading
from fastif.models.save_classifier import save_classifier
from storage.atomic_folder import replace_folder
from tasks.notebook.saved_copy import check_saved_copy
from tasks.onboarding.model_folder import open_model
from tasks.runtime.progress import print_line
from tasks.study.fields import HUB

WEIGHTS = ("config.json", "adapter_config.json", "*.safetensors", "model.safetensors.index.json")
EXPECTED = "a sequence classifier of transformers, its Trainer, or the folder of a saved one"
EXPECTED_LOSS = "the loss of the model, cross-entropy"


@dataclass(frozen=True)
class GivenModel:
    """Model that a caller gave, with its data if it is a `Trainer`.

    Attributes:
        model: Classifier, or the name of a folder.
        tokenizer: Tokenizer; None to read it from the folder.
        train: Training examples of the `Trainer`; None without one.
        queries: Evaluation examples of the `Trainer`; None without any.
        loss: Keys of the section `[loss]` that the `Trainer` states.
    """

    model: Any
    tokenizer: Any = None
    train: Any = None
    queries: Any = None
    loss: dict[str, float] = field(default_factory=dict)


def read_trainer(model: Any, tokenizer: Any) -> GivenModel:
    """Return model, tokenizer, data and loss of a `Trainer`; anything else is the model itself.

    Raises:
        InputError: The `Trainer` has a loss of its own.
    """
    if not (hasattr(model, "train_dataset") and hasattr(model, "model")):
        return GivenModel(model, tokenizer)
    method = getattr(type(model), "compute_loss", None)
    is_own = method is not None and not method.__module__.startswith("transformers.")
    if is_own or getattr(model, "compute_loss_func", None) is not None:
        raise InputError(
            "model, a Trainer",
            EXPECTED_LOSS,
            f"a Trainer with its own {'compute_loss' if is_own else 'compute_loss_func'}",
            "Give trainer.model if its loss is cross-entropy; for another loss see "
            "docs/guides/library.md.",
        )
    smoothing = float(getattr(model.args, "label_smoothing_factor", 0) or 0)
    return GivenModel(
        model.model,
        tokenizer if tokenizer is not None else getattr(model, "processing_class", None),
        model.train_dataset,
        getattr(model, "eval_dataset", None),
        {"label_smoothing": smoothing} if smoothing else {},
    )


def save_model(model: Any, tokenizer: Any, folder: Path) -> str:
    """Save model and tokenizer to a folder; the folder of a saved model is kept.

    Args:
        model: Classifier, or the name of a folder or of a model on the hub.
        tokenizer: Tokenizer; None to use that of the folder.
        folder: New folder.

    Returns:
        Name of the folder with model and tokenizer.

    Raises:
        InputError: The model is no classifier of transformers with all its weights in memory, it
            has a loss of its own, there is no tokenizer, or the saved model has other outputs.
    """
    if isinstance(model, str | PathLike):
        return _link_model(str(model), tokenizer, folder)
    model = _open_adapter(_unwrap(model))
    _check_class(model)
    _check_loss(model)
    _check_weights(model)
    if not hasattr(tokenizer, "save_pretrained"):
        got = "nothing" if tokenizer is None else type(tokenizer).__name__
        remedy = "Give the tokenizer that the model was trained with."
        raise InputError("tokenizer", "a tokenizer of transformers", got, remedy)
    config = dict(vars(model.config))
    with replace_folder(folder) as unfinished:
        try:
            with quiet_loading():
                save_classifier(model, unfinished)
        finally:
            vars(model.config).clear()
            vars(model.config).update(config)  # saving sets its type and architecture
        tokenizer.save_pretrained(unfinished)
    check_saved_copy(model, str(folder))
    return str(folder)


def _link_model(name: str, tokenizer: Any, folder: Path) -> str:
    """Return the folder of a model; with another tokenizer a new folder that links to its files.

    Raises:
        InputError: There is no such folder, it holds no classifier, or a tokenizer is given for a
            model of the hub.
    """
    source = Path(name).expanduser()
    if not name.startswith(HUB) and not source.exists():
        remedy = f"Correct the path. For a model of the hub write {HUB}owner/name."
        raise InputError("model", EXPECTED, f"no such folder, {name}", remedy)
    if tokenizer is None or isinstance(tokenizer, str | PathLike):
        if tokenizer is not None and Path(tokenizer).expanduser().resolve() != source.resolve():
            remedy = "Give the tokenizer as an object: AutoTokenizer.from_pretrained(...)."
            raise InputError("tokenizer", "a tokenizer, or nothing", f"{tokenizer}", remedy)
        return name if name.startswith(HUB) else str(source)
    if not source.is_dir():
        remedy = "Leave the tokenizer out, or give the model as an object too."
        raise InputError("model", "a folder, if the tokenizer is an object", name, remedy)
    checkpoint = open_model(str(source))
    if checkpoint.note:
        print_line(f"model: {checkpoint.note}")
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer.save_pretrained(folder)
    for path in [path for pattern in WEIGHTS for path in checkpoint.folder.glob(pattern)]:
        (folder / path.name).symlink_to(path.resolve())
    return str(folder)


def _unwrap(model: Any) -> Any:
    """Return the model inside the wrappers of torch: compiled, parallel, distributed."""
    for name in ("_orig_mod", "module", "_orig_mod"):
        if not hasattr(model, "save_pretrained") or name == "_orig_mod":
            model = getattr(model, name, model)
    return model


def _open_adapter(model: Any) -> Any:
    """Return the classifier inside of a PEFT model, with its adapter; any other model as it is.

    Raises:
        InputError: The adapter cannot be attributed, or its base is in no folder.
    """
    if not getattr(model, "peft_config", None) or get_adapter(model) is not None:
        return model
    classifier = unwrap_adapter(model)
    adapter = get_adapter(classifier)
    if adapter is None or not adapter.settings.get("base_model_name_or_path"):
        remedy = "Merge it: model = model.merge_and_unload()."
        raise InputError("model", EXPECTED, "an adapter of a base that is in no folder", remedy)
    return classifier


def _check_class(model: Any) -> None:
    """Refuse other objects than classifiers that transformers itself can load.

    Raises:
        InputError: An adapter, a class of the caller, or no model.
    """
    kind, place = type(model), "model"
    has_adapter = hasattr(model, "peft_config") and get_adapter(model) is None
    if has_adapter or kind.__module__.startswith("peft"):
        remedy = "Merge it: model = model.merge_and_unload()."
        raise InputError(place, EXPECTED, f"an adapter, {kind.__name__}", remedy)
    is_own = kind.__module__.startswith("transformers.models.")
    if is_own and kind.__name__.endswith("ForSequenceClassification"):
        return
    got = f"{kind.__module__}.{kind.__name__}".removeprefix("builtins.")
    remedy = (
        "Audit other torch modules with fastif.ModuleObjective and fastif.Attributor, see "
        "docs/guides/library.md."
    )
    raise InputError(place, EXPECTED, got, remedy)


def _check_loss(model: Any) -> None:
    """Refuse a model to which the caller gave a loss; no file keeps it.

    Raises:
        InputError: Such a loss.
    """
    own = getattr(model, "_loss_function", None)  # set by model.loss_function = ...
    if own is None or getattr(own, "__module__", "").startswith("transformers."):
        return
    raise InputError(
        "model",
        EXPECTED_LOSS,
        f"a model with its own loss_function, {getattr(own, '__name__', type(own).__name__)}",
        "Delete model._loss_function if the model was trained with cross-entropy; for another loss "
        "see docs/guides/library.md.",
    )


def _check_weights(model: Any) -> None:
    """Refuse weights that are quantized or not in memory.

    Raises:
        InputError: Such weights.
    """
    if getattr(model, "hf_quantizer", None) is not None:
        remedy = "Load the model without quantization_config."
        raise InputError("model", "weights as floating-point numbers", "quantized weights", remedy)
    absent = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if absent:
        remedy = "Load the model without offloading: device_map=None."
        raise InputError("model", "weights in memory", f"none for {absent[0]}", remedy)
