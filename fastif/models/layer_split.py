"""Encoder layers of a Hugging Face classifier, and the parameters that a choice of them selects."""

import json
import re
from collections.abc import Sequence
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.models.adapter import get_adapter
from fastif.models.parameters import match_names

Attributed = Literal["all"] | str | Sequence[str]
""""all", "last:K" (the last K encoder layers and the head), "adapter", or regular expressions."""

Layer = tuple[str, ...]
"""Full names of the modules of a layer, mostly one."""

NON_TEXT_MODULE = re.compile("vision|visual|image|audio")
"""Pattern of modules that do not read text."""


def find_layers(model: PreTrainedModel) -> list[Layer]:
    """Return the `num_hidden_layers` encoder layers in order; empty if they are not recognised.

    A list of blocks of layers counts as one list. Lists of equal length next to each other hold the
    parts of the layers, as in XLM.
    """
    count = _count_layers(model)
    lists = {name: items for name, items in _list_modules(model).items() if len(items) == count}
    if not lists:
        return []
    parent = next(iter(lists)).rpartition(".")[0]
    parts = [items for name, items in lists.items() if name.rpartition(".")[0] == parent]
    return list(zip(*parts, strict=True))


def find_called_layers(model: PreTrainedModel) -> list[Layer]:
    """Return the encoder layers, or those of the list with shared weights; empty if none."""
    return find_layers(model) or [(name,) for name in _find_shared_layers(model)]


def _find_shared_layers(model: PreTrainedModel) -> list[str]:
    """Return layers that are fewer than `num_hidden_layers`, so that each runs several times."""
    count = _count_layers(model)
    lists = [items for items in _list_modules(model).values() if len(items) < count]
    return lists[0] if lists else []


def _count_layers(model: PreTrainedModel) -> int:
    return getattr(model.config.get_text_config(), "num_hidden_layers", None) or 0


def _list_modules(model: PreTrainedModel) -> dict[str, list[str]]:
    """Return the names in each outermost list of modules that have parameters and read text."""
    lists: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or NON_TEXT_MODULE.search(name):
            continue
        if any(name.startswith(f"{outer}.") for outer in lists):
            continue
        items = _flatten_list(name, module)
        if items and all(_has_parameters(model.get_submodule(item)) for item in items):
            lists[name] = items
    return lists


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _flatten_list(name: str, modules: nn.ModuleList) -> list[str]:
    names: list[str] = []
    for key, module in modules.named_children():
        path = f"{name}.{key}"
        names += _flatten_list(path, module) if isinstance(module, nn.ModuleList) else [path]
    return names


def get_encoder_layers(model: PreTrainedModel) -> list[Layer]:
    """Return the encoder layers in order.

    Raises:
        InputError: If the model has no list of equal layers.
    """
    layers = find_layers(model)
    if layers:
        return layers
    shared = _find_shared_layers(model)
    if shared:
        expected = "layers with weights of their own, of which the last K are attributed"
        got = f"{_count_layers(model)} layers that share the weights of {', '.join(shared)}"
    else:
        expected = "an encoder made of a list of equal layers"
        got = f"none that is recognised, {_describe_count(model)}"
    names = [name for name, _ in model.named_parameters()]
    inside = [i for i, name in enumerate(names) if name.startswith(tuple(f"{n}." for n in shared))]
    above = names[inside[-1] + 1 :] if inside else names[-4:]
    modules = dict.fromkeys(name.rpartition(".")[0] for name in above)
    raise InputError(
        type(model).__name__,
        expected,
        got,
        f'Set [parameters] attributed to "all", or to {json.dumps(list(modules)[-4:])} for those '
        "above the layers.",
    )


def _describe_count(model: PreTrainedModel) -> str:
    count = _count_layers(model)
    return f"with {count} layers" if count else "and no num_hidden_layers in the configuration"


def _find_modules_before_encoder(model: PreTrainedModel, layers: Sequence[Layer]) -> list[str]:
    """Return the names of modules that run before the first encoder layer or outside all layers."""
    lists = {_find_outermost_list(model, name) for name in layers[0]}
    encoder = next(iter(lists)).rpartition(".")[0]
    base = encoder.rpartition(".")[0]
    before = []
    for name, _ in model.get_submodule(base).named_children():
        path = f"{base}.{name}" if base else name
        if path == encoder:
            break
        before.append(path)
    children = [f"{encoder}.{name}" for name, _ in model.get_submodule(encoder).named_children()]
    return before + [name for name in children if name not in lists]


def _find_outermost_list(model: PreTrainedModel, name: str) -> str:
    """Return the list of modules that holds a layer, or a block of layers."""
    parent = name.rpartition(".")[0]
    while isinstance(model.get_submodule(parent.rpartition(".")[0]), nn.ModuleList):
        parent = parent.rpartition(".")[0]
    return parent


def select_attributed_names(model: PreTrainedModel, attributed: Attributed) -> list[str]:
    """Return the parameter names that "all", "last:K", "adapter" or a list of patterns selects.

    In a model with an adapter, "all" and "last:K" select parameters of the adapter alone: those
    that its training changed. Patterns select any.

    Args:
        model: Classifier with the parameters.
        attributed: Selection of parameters.

    Raises:
        InputError: If a pattern or K does not fit the model.
    """
    names = [name for name, _ in model.named_parameters()]
    if not isinstance(attributed, str):
        return match_names(names, attributed)
    if adapter := get_adapter(model):
        names = [name for name in names if name in adapter.saved_names]
    elif attributed == "adapter":
        raise InputError(
            "attributed parameters",
            'a model with a LoRA adapter for "adapter"',
            "a model without one",
            'Set [parameters] attributed to "last:1".',
        )
    if attributed in ("all", "adapter"):
        return names
    layers = get_encoder_layers(model)
    match = re.fullmatch(r"last:(\d+)", attributed)
    if not match or not 1 <= int(match[1]) <= len(layers):
        raise InputError(
            "attributed parameters",
            f'"all", "adapter", a list of patterns, or "last:K" with K from 1 to {len(layers)}',
            repr(attributed),
            "Correct [parameters] attributed.",
        )
    first = len(layers) - int(match[1])
    frozen = [f"{name}." for layer in layers[:first] for name in layer]
    frozen += [f"{name}." for name in _find_modules_before_encoder(model, layers)]
    return [name for name in names if not name.startswith(tuple(frozen))]
