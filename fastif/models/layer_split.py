"""Encoder layers of a Hugging Face classifier, and the parameters that a choice of them selects."""

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

NON_TEXT_MODULE = re.compile("vision|visual|image|audio")
"""Pattern of modules that do not read text."""


def find_layer_path(model: PreTrainedModel) -> str | None:
    """Return the name of the list of `num_hidden_layers` encoder layers; None if there is none."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    for name, module in model.named_modules():
        if (
            not isinstance(module, nn.ModuleList)
            or len(module) != count
            or NON_TEXT_MODULE.search(name)
        ):
            continue
        if all(any(True for _ in layer.parameters()) for layer in module):
            return name
    return None


def _find_layer_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList] | None:
    path = find_layer_path(model)
    if path is None:
        return None
    layers = model.get_submodule(path)
    assert isinstance(layers, nn.ModuleList)
    return path, layers


def get_encoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the name and the modules of the encoder layers.

    Raises:
        InputError: If the model has no list of equal layers.
    """
    layer_list = _find_layer_list(model)
    if layer_list is None:
        names = [name for name, _ in model.named_parameters()]
        raise InputError(
            type(model).__name__,
            "an encoder made of a list of equal layers",
            "none that is recognised",
            'Attribute parameters by regular expressions or "all" instead of "last:K"; the last '
            f"ones are {', '.join(names[-4:])}.",
        )
    return layer_list


def _find_modules_before_encoder(model: PreTrainedModel) -> list[str]:
    """Return the names of modules that run before the first encoder layer or outside all layers."""
    layer_list = _find_layer_list(model)
    if layer_list is None:
        return []
    encoder = layer_list[0].rpartition(".")[0]
    base = encoder.rpartition(".")[0]
    before = []
    for name, _ in model.get_submodule(base).named_children():
        path = f"{base}.{name}" if base else name
        if path == encoder:
            break
        before.append(path)
    outside = [
        f"{encoder}.{name}"
        for name, _ in model.get_submodule(encoder).named_children()
        if f"{encoder}.{name}" != layer_list[0]
    ]
    return before + outside


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
    path, layers = get_encoder_layers(model)
    match = re.fullmatch(r"last:(\d+)", attributed)
    if not match or not 1 <= int(match[1]) <= len(layers):
        raise InputError(
            "attributed parameters",
            f'"all", "adapter", a list of patterns, or "last:K" with K from 1 to {len(layers)}',
            repr(attributed),
            "Correct [parameters] attributed.",
        )
    first = len(layers) - int(match[1])
    frozen = [f"{path}.{index}." for index in range(first)]
    frozen += [f"{name}." for name in _find_modules_before_encoder(model)]
    return [name for name in names if not name.startswith(tuple(frozen))]
