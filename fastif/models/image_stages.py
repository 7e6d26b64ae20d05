"""Stages of an image classifier, and the parameters that a choice of them selects."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.models.layer_split import Attributed
from fastif.models.module_calls import ModuleCall, find_owner_call, record_calls
from fastif.models.parameters import match_names

HEAD = "head"
"""Selection of the classification head alone."""


def find_stages(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the stages or layers of an image model, in order; empty if it has none.

    They are the parts of the list of modules with most parameters: the layers of a ViT, the stages
    of a ResNet, ConvNeXt or Swin. Parts of one name with a number, such as layer1 and layer2, are a
    list too.
    """
    best, most = (), 0
    for name, module in model.named_modules():
        for parts in _list_parts(module):
            size = sum(_count_parameters(part) for part in parts.values())
            if size > most:
                prefix = f"{name}." if name else ""
                best, most = tuple(f"{prefix}{part}" for part in parts), size
    return best


def _list_parts(module: nn.Module) -> list[dict[str, nn.Module]]:
    """Return the lists of two or more parts with parameters that a module consists of."""
    parts = {name: part for name, part in module.named_children() if has_parameters(part)}
    lists: dict[str, dict[str, nn.Module]] = {}
    for name, part in parts.items():
        if isinstance(module, nn.ModuleList | nn.Sequential):
            lists.setdefault("", {})[name] = part
        elif match := re.fullmatch(r"(.+?)_?\d+", name):
            lists.setdefault(match[1], {})[name] = part
    return [each for each in lists.values() if len(each) > 1]


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def has_parameters(module: nn.Module) -> bool:
    """Whether a module has parameters."""
    return next(module.parameters(), None) is not None


def find_head(calls: Sequence[ModuleCall], model: nn.Module) -> str | None:
    """Return the name of the last linear layer that ran; None if there is none."""
    linear = [call for call in calls if isinstance(model.get_submodule(call.name), nn.Linear)]
    return linear[-1].name if linear else None


def select_image_parameters(
    model: PreTrainedModel, attributed: Attributed, inputs: Mapping[str, Tensor]
) -> list[str]:
    """Return the names of the parameters that "all", "head", "last:K" or patterns select.

    Parameters run where the innermost module around them runs; "last:K" selects those that run in
    the last K stages or after them.

    Args:
        model: Classifier with the parameters.
        attributed: Selection of parameters.
        inputs: Keyword arguments of a trial run.

    Raises:
        InputError: A pattern or K does not fit the model, or the trial run fails.
    """
    names = [name for name, _ in model.named_parameters()]
    if attributed == "all":
        return names
    if not isinstance(attributed, str):
        return match_names(names, attributed)
    stages = find_stages(model)
    match = re.fullmatch(r"last:(\d+)", attributed)
    if attributed != HEAD and not (match and 1 <= int(match[1]) <= len(stages)):
        last = f'"last:K" with K from 1 to {len(stages)}, ' if stages else ""
        raise InputError(
            "attributed parameters",
            f'"all", "head", {last}or a list of patterns',
            repr(attributed),
            f"Correct [parameters] attributed; the last parameters are {', '.join(names[-4:])}.",
        )
    calls = record_trial(model, inputs)
    if attributed == HEAD:
        return _select_head(model, names, calls)
    first = stages[len(stages) - int(match[1])]  # type: ignore[index]
    starts = [call.start for call in calls if call.name == first]
    if len(starts) != 1:
        raise InputError(
            type(model).__name__,
            f"a stage {first} that runs once",
            f"{len(starts)} runs",
            'Attribute parameters by regular expressions, "head" or "all".',
        )
    by_name = {call.name: call for call in reversed(calls)}
    owners = {name: find_owner_call(by_name, name) for name in names}
    return [name for name, call in owners.items() if call is not None and call.start >= starts[0]]


def record_trial(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> list[ModuleCall]:
    """Record the calls of a trial run.

    Raises:
        InputError: The model cannot read images of this shape.
    """
    try:
        return record_calls(model, inputs)
    except Exception as error:  # the code of a model may raise anything
        shape = list(inputs["pixel_values"].shape[1:])
        raise InputError(
            type(model).__name__,
            f"outputs for random pixel values of shape {shape}",
            f"{type(error).__name__}: {error}".splitlines()[0],
            "Attribute parameters by regular expressions, or correct image_size in config.json.",
        ) from error


def _select_head(
    model: PreTrainedModel, names: Sequence[str], calls: Sequence[ModuleCall]
) -> list[str]:
    """Return the parameters outside of the base model, or of the last linear layer."""
    if model.base_model is not model:
        prefix = f"{model.base_model_prefix}."
        if outside := [name for name in names if not name.startswith(prefix)]:
            return outside
    head = find_head(calls, model)
    if head is None:
        raise InputError(
            type(model).__name__,
            "a linear layer as the classification head",
            "none",
            'Attribute parameters by regular expressions, "last:1" or "all".',
        )
    return [name for name in names if name.startswith(f"{head}.")]
