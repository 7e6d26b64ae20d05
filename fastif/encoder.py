"""The encoder inside a Hugging Face classifier: its layers, their parameters, and where to cut."""

import re
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.objective import frozen_copy
from fastif.parameters import matching

Attributed = Literal["all"] | str | Sequence[str]
"""\"all\", \"last:K\" (the last K encoder layers and the head), or regular expressions."""


class _Given(nn.Module):
    """In place of the embeddings: the hidden states that were given."""

    def forward(
        self, *args: Tensor | None, inputs_embeds: Tensor | None = None, **_: object
    ) -> Tensor:
        if inputs_embeds is not None:
            return inputs_embeds
        return next(a for a in args if torch.is_tensor(a) and a.is_floating_point())


class _Skip(nn.Module):
    """In place of a frozen layer: its first argument, in a tuple if the layer gives tuples."""

    def __init__(self, tuple_of: int = 0) -> None:
        super().__init__()
        self.tuple_of = tuple_of

    def forward(self, hidden: Tensor, *_: object, **__: object) -> Tensor | tuple:
        return (hidden, *[None] * (self.tuple_of - 1)) if self.tuple_of else hidden


class _ReachedError(Exception):
    """Raised at the cut to end a run early."""


def probe(model: PreTrainedModel) -> dict[str, Tensor]:
    """Three short texts, one of them padded; three, so that a batch does not pass for a pair."""
    device = next(model.parameters()).device
    ids = torch.arange(5, 23, device=device).view(3, 6) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def _tuple_of(model: PreTrainedModel, layer: nn.Module) -> int:
    """How many things a layer returns in a tuple, hidden states first; 0 if a bare tensor."""
    found: list[int] = []
    handle = layer.register_forward_hook(
        lambda _, __, output: found.append(len(output) if isinstance(output, tuple) else 0)
    )
    try:
        model(**probe(model))
    except (RuntimeError, TypeError, ValueError):
        return 0  # a model that wants more than tokens is found out by the check of the cut
    finally:
        handle.remove()
    return found[0] if found else 0


def run_until(model: nn.Module, layer: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Run the model up to `layer` and return the hidden states that it would have been given."""
    found: list[Tensor] = []

    def stop(_: nn.Module, args: tuple, kwargs: dict) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])
        raise _ReachedError

    handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(**inputs)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return found[0]


def _layer_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList] | None:
    """Name and modules of the encoder's layers: the list of `num_hidden_layers` equal modules."""
    count = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) != count:
            continue
        if len({type(layer) for layer in module}) == 1:
            return name, module
    return None


def encoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Name and modules of the encoder's layers, or a refusal."""
    found = _layer_list(model)
    if found is None:
        raise InputError(
            type(model).__name__,
            "an encoder made of a list of equal layers",
            "none that is recognised",
            'Attribute parameters by regular expressions or "all" instead of "last:K".',
        )
    return found


def _beforeencoder_layers(model: PreTrainedModel) -> list[str]:
    """Names of the modules that run before the first encoder layer or beside all of them."""
    found = _layer_list(model)
    if found is None:
        return []
    encoder = found[0].rpartition(".")[0]
    base = encoder.rpartition(".")[0]
    before = []
    for name, _ in model.get_submodule(base).named_children():
        path = f"{base}.{name}" if base else name
        if path == encoder:
            break
        before.append(path)
    beside = [
        f"{encoder}.{name}"
        for name, _ in model.get_submodule(encoder).named_children()
        if f"{encoder}.{name}" != found[0]
    ]
    return before + beside


def attributed_names(model: PreTrainedModel, attributed: Attributed) -> list[str]:
    """The parameter names that "all", "last:K" or a list of patterns stands for.

    Raises:
        InputError: a pattern or K that does not fit the model.
    """
    names = [name for name, _ in model.named_parameters()]
    if attributed == "all":
        return names
    if not isinstance(attributed, str):
        return matching(names, attributed)
    path, layers = encoder_layers(model)
    found = re.fullmatch(r"last:(\d+)", attributed)
    if not found or not 1 <= int(found[1]) <= len(layers):
        raise InputError(
            "attributed parameters",
            f'"all", a list of patterns, or "last:K" with K from 1 to {len(layers)}',
            repr(attributed),
            "Correct [parameters] attributed.",
        )
    first = len(layers) - int(found[1])
    frozen = [f"{path}.{index}." for index in range(first)]
    frozen += [f"{name}." for name in _beforeencoder_layers(model)]
    return [name for name in names if not name.startswith(tuple(frozen))]


def cut_below(whole: PreTrainedModel, names: Sequence[str]) -> tuple[PreTrainedModel, int]:
    """The model without what lies below the first layer with one of these parameters.

    Returns:
        The rest, which is given hidden states as `inputs_embeds`, and the number of the layer it
        begins with; the whole model and 0 if nothing lies below.
    """
    found = _layer_list(whole)
    before = _beforeencoder_layers(whole)
    if found is None or any(name.startswith(tuple(f"{b}." for b in before)) for name in names):
        return whole, 0
    path, layers = found
    inside = [int(n[len(path) + 1 :].split(".")[0]) for n in names if n.startswith(f"{path}.")]
    cut = min(inside, default=len(layers) - 1)
    if cut == 0:
        return whole, 0
    module = frozen_copy(whole)
    kept = encoder_layers(module)[1]
    tuple_of = _tuple_of(whole, layers[0])
    for index in range(cut):
        kept[index] = _Skip(tuple_of)
    encoder = path.rpartition(".")[0]
    for name in before:
        parent, _, child = name.rpartition(".")
        if parent == encoder:
            if "conv" in child:  # DeBERTa-v2 mixes a convolution into the first layer's output
                setattr(module.get_submodule(parent), child, _Skip())
        else:
            first = name == before[0]
            setattr(module.get_submodule(parent), child, _Given() if first else _Skip())
    return module, cut
