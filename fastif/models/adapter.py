"""LoRA adapters of PEFT (Hu et al., 2021) on a classifier: attached and compared.

A classifier with an adapter is the base model of its own class, whose adapted layers hold the
matrices A and B, and whose saved modules (the head) replace those of the base. So layers, padding
and hooks are those of the base.
"""

import copy
import json
import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.models.adapter_folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    MERGE,
    SAVED_PREFIX,
    AdapterFolder,
    check_kind,
)

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Adapter:
    """Adapter of a classifier in memory, which has it as `model.adapter`.

    Attributes:
        settings: Content of `adapter_config.json`.
        saved_names: Name of each of its parameters in a file of PEFT, by the name in the model.
    """

    settings: Mapping[str, Any]
    saved_names: Mapping[str, str]


def get_adapter(model: nn.Module) -> Adapter | None:
    """Return the adapter of a classifier; None if it has none."""
    return getattr(model, "adapter", None)


def attach_adapter(
    base: PreTrainedModel, source: AdapterFolder, random_names: Collection[str]
) -> PreTrainedModel:
    """Return the base with the adapter of a folder; the base is changed.

    Args:
        base: Classifier with the weights of the base.
        source: Folder of the adapter.
        random_names: Weights that the base lacks, which the adapter has to replace.

    Raises:
        InputError: If PEFT is not installed, adapter and base do not fit, or weights would be
            random.
    """
    peft = import_peft(source.where)
    tensors = _read_tensors(source)
    without_source = sorted(n for n in random_names if SAVED_PREFIX + n not in tensors)
    if without_source:
        raise InputError(
            source.where,
            "an adapter that was saved with all weights that its base lacks",
            f"no weights for {', '.join(without_source[:3])}, which would be random",
            "Train again with these modules in modules_to_save, or name a base that has them.",
        )
    # The kind was checked, so that no setting imports a module or changes weights of the base.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing tensors are compared below
            adapted = peft.PeftModel.from_pretrained(
                base, str(source.folder), torch_device="cpu", autocast_adapter_dtype=False
            )
    except Exception as error:  # PEFT raises errors of many kinds for a base that does not fit
        raise _make_misfit(source, _first_line(error)) from error
    model = _unwrap(adapted, "default", source.resolved_settings)
    _compare_tensors(model, tensors, source)
    model.config._name_or_path = str(source.folder)
    return model


def unwrap_adapter(model: nn.Module) -> PreTrainedModel:
    """Return a copy of a PEFT model in the form of this module; a classifier as it is.

    The copy shares the weights.

    Raises:
        InputError: If the adapter is no LoRA adapter, is merged or disabled, there are several, or
            the model is none of transformers.
    """
    config = getattr(model, "peft_config", None)
    if not isinstance(config, dict) or get_adapter(model) is not None:
        if isinstance(model, PreTrainedModel):
            return model
        got, change = type(model).__name__, "Use ModuleObjective for other modules."
        raise InputError("model", "a sequence classifier of transformers", got, change)
    where, remedy = f"model {type(model).__name__}", "Activate one adapter, unmerged."
    active = _list_active(model)
    if len(active) != 1:
        raise InputError(where, "one active adapter", f"{len(active)}", remedy)
    settings = json.loads(json.dumps(config[active[0]].to_dict(), default=_plain))
    check_kind(settings, where)
    for layer in model.modules():
        if getattr(layer, "merged", False) is True:
            raise InputError(where, "an adapter apart from its base", "a merged one", remedy)
        if getattr(layer, "disable_adapters", False) is True:
            raise InputError(where, "an active adapter", "a disabled one", remedy)
    shared = {id(tensor): tensor for tensor in model.parameters()}
    return _unwrap(copy.deepcopy(model, shared), active[0], settings)


def add_lora(
    base: PreTrainedModel,
    settings: Mapping[str, Any],
    base_name: str,
    revision: str | None = None,
) -> PreTrainedModel:
    """Return the base with a new LoRA adapter, whose matrix B is zero; the base is changed.

    Args:
        base: Classifier to adapt.
        settings: Arguments of `peft.LoraConfig`; the task is sequence classification.
        base_name: Folder of the base, or its name on the hub, for the saved adapter.
        revision: Commit of a base of the hub, which the saved adapter names too.

    Raises:
        InputError: If PEFT is not installed, or no layer of the base is targeted.
    """
    peft = import_peft("[training] lora_rank")
    try:
        config = peft.LoraConfig(task_type="SEQ_CLS", **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adapted = peft.get_peft_model(base, config, autocast_adapter_dtype=False)
    except Exception as error:  # PEFT raises errors of many kinds for targets that do not fit
        raise InputError(
            "[training] lora_targets",
            "names of linear layers of the base",
            _first_line(error),
            'Write the ends of their names, such as ["query", "value"], or "all-linear".',
        ) from error
    saved = json.loads(json.dumps(config.to_dict(), default=_plain))
    saved["modules_to_save"] = list(dict.fromkeys(saved["modules_to_save"]))  # PEFT adds its own
    saved |= {"base_model_name_or_path": base_name, "revision": revision}
    return _unwrap(adapted, "default", saved)


def strip_wrappers(name: str) -> str:
    """Return the name that a parameter of a PEFT model has in its objective.

    Examples:
        >>> strip_wrappers("base_model.model.classifier.modules_to_save.default.weight")
        'classifier.weight'
    """
    return re.sub(r"\.modules_to_save\.[^.]+\.", ".", name.removeprefix(SAVED_PREFIX))


def import_peft(where: str) -> Any:
    """Import PEFT.

    Raises:
        InputError: If it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise InputError(
            where,
            "the package peft, which reads adapters",
            f"{error}",
            'Install it: pip install "fastif[adapters]"',
        ) from error
    return peft


def _unwrap(adapted: Any, name: str, settings: Mapping[str, Any]) -> PreTrainedModel:
    """Return the model inside of a PEFT model, with its saved modules in their places."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False)
    saved = {key.removeprefix(SAVED_PREFIX) for key in state}
    model = adapted.base_model.model if hasattr(adapted, "get_base_model") else adapted
    for path, module in list(model.named_modules()):
        if hasattr(module, "modules_to_save") and hasattr(module, "original_module"):
            model.set_submodule(path, module.modules_to_save[name])
    pattern = re.compile(rf"(lora_\w+)\.{re.escape(name)}(?=\.|$)")
    short_names = {n: pattern.sub(r"\1", n) for n, _ in model.named_parameters()}
    own = {n: SAVED_PREFIX + short for n, short in short_names.items() if short in saved}
    model.adapter = Adapter(settings, own)
    return model.eval()


def _compare_tensors(
    model: PreTrainedModel, tensors: Mapping[str, Tensor], source: AdapterFolder
) -> None:
    """Refuse an adapter of which a saved tensor is not in the model, or a matrix is not saved."""
    adapter = get_adapter(model)
    assert adapter is not None
    parameters = dict(model.named_parameters())
    short_names = {SAVED_PREFIX + name: name for name in parameters}
    names = {**short_names, **{saved: name for name, saved in adapter.saved_names.items()}}
    if missing := sorted(set(adapter.saved_names.values()) - tensors.keys()):
        raise _make_misfit(source, f"{len(missing)} weights not saved, such as {missing[0]}")
    if unknown := sorted(tensors.keys() - names.keys()):
        raise _make_misfit(source, f"weights without a place in the base, such as {unknown[0]}")
    for saved, tensor in tensors.items():
        present = parameters[names[saved]]
        if tensor.dtype not in FLOATS or not torch.equal(present.to(tensor.dtype), tensor):
            raise _make_misfit(source, f"weights that were not read, such as {saved}")


def _read_tensors(source: AdapterFolder) -> dict[str, Tensor]:
    path = source.folder / ADAPTER_WEIGHTS
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        raise InputError(
            source.where,
            f"{ADAPTER_WEIGHTS} as PEFT writes it",
            f"damaged or incomplete ({_first_line(error)})",
            "Copy it again from where the adapter was saved, or save the adapter again.",
        ) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            got = f"{name} of type {kind}"
            raise InputError(source.where, "weights of 16, 32 or 64 bits", got, MERGE)
    return {
        _drop_wrapper(name): t for name, t in tensors.items() if ".original_module." not in name
    }


def _drop_wrapper(name: str) -> str:
    """Return a saved name without the wrapper of a module, which PEFT leaves in for biases."""
    return name.replace(".modules_to_save.", ".")


def _make_misfit(source: AdapterFolder, reason: str) -> InputError:
    return InputError(
        source.where,
        f"an adapter of its base {source.base_folder}",
        reason,
        f"Correct base_model_name_or_path in its {ADAPTER_CONFIG}, or save the adapter again.",
    )


def _list_active(model: nn.Module) -> list[str]:
    active = getattr(model, "active_adapters", None)
    active = active() if callable(active) else active
    return [active] if isinstance(active, str) else list(active or ())


def _plain(entry: object) -> object:
    """Return a set as a list, and an enumeration as its text, for JSON."""
    return sorted(entry) if isinstance(entry, set | frozenset) else getattr(entry, "value", None)


def _first_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no weights for {error.args[0]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__
