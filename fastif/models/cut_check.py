"""Truncated models: frozen layers are left out and replaced by their cached hidden states.

Only layers are left out. Embeddings, masks, positions and the head get the same tokens as in the
full model, so that the head finds what it looks up by them, such as the last token.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from fastif.models.frozen_layer import FrozenLayer, SkippedCall, Substitution, substitute_hidden
from fastif.models.hidden_layout import HiddenLayout
from fastif.models.layer_calls import RecordedCall, group_calls, observe_calls, record_calls
from fastif.models.layer_split import find_called_layers
from fastif.models.objective import frozen_copy
from fastif.models.parameters import Params

Inputs = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class TruncatedModel:
    """Model without its first layers.

    Attributes:
        index: Number of layers that are left out.
        module: Remaining model; layers before the truncation point return their input.
        last: Module of the last layer that is left out, and the number of its earlier calls.
        layout: Place of the hidden states in the output of that call.
    """

    index: int
    module: nn.Module
    last: tuple[str, int]
    layout: HiddenLayout

    @property
    def width(self) -> int:
        """Size d of a hidden state."""
        return sum(self.layout.widths)

    def compute_hidden_states(
        self, full_model: PreTrainedModel, inputs: Inputs
    ) -> Float[Tensor, "b t d"]:
        """Run the full model to the truncation point and return the hidden states."""
        captured: list[list[object]] = []

        def stop(call: RecordedCall) -> None:
            if (call.name, call.repetition) == self.last:
                captured.append(call.leaves)
                raise _ReachedError

        try:
            with observe_calls(full_model, [self.last[0]], stop):
                full_model(**inputs)
        except _ReachedError:
            pass
        return self.layout.join(captured[0], inputs["input_ids"].shape[1])

    @contextmanager
    def inject_hidden(self, hidden: Float[Tensor, "b t d"]) -> Iterator[None]:
        """Context manager in which the module continues from these hidden states, in one pass."""
        with substitute_hidden(Substitution(hidden, self.layout)):
            yield


class CutError(Exception):
    """Reason why a model cannot be truncated."""


class _ReachedError(Exception):
    """Exception that ends a forward pass at the truncation point."""


def cut_frozen_layers(
    full_model: PreTrainedModel, params: Params, inputs: Inputs
) -> TruncatedModel | None:
    """Return the model without layers that do not depend on the attributed parameters.

    Args:
        full_model: Model to truncate.
        params: Attributed parameters.
        inputs: Keyword arguments of a trial run that finds these layers and their output structure.

    Returns:
        The truncated model; None if no layer is frozen.

    Raises:
        CutError: If layers are frozen and cannot be left out.
    """
    layers = find_called_layers(full_model)
    if not layers:
        raise CutError("no list of layers is recognised")
    names = [name for layer in layers for name in layer]
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
    with torch.enable_grad():
        calls = record_calls(
            full_model, names, lambda: functional_call(full_model, leaves, (), inputs)
        )
    groups = group_calls(calls, layers)
    if groups is None or len(groups) < len(layers):
        raise CutError(f"{len(layers)} layers are called in another order than that of their list")
    index = _count_frozen_layers(groups)
    if index < 1:
        return None
    skipped = [call for group in groups[:index] for call in group]
    following = groups[index][0].arguments if index < len(groups) else []
    layout, kept = _find_layout(skipped, following, inputs["input_ids"])
    module = frozen_copy(full_model)
    _replace_layers(module, skipped, kept)
    return TruncatedModel(index, module, (skipped[-1].name, skipped[-1].repetition), layout)


def _count_frozen_layers(groups: Sequence[Sequence[RecordedCall]]) -> int:
    """Count the layers that can be left out: their outputs depend on no attributed parameter.

    The autograd graph decides: hidden states with a path to a parameter are not frozen, wherever in
    the model the parameter is.
    """
    depends_on_params = [
        any(torch.is_tensor(leaf) and leaf.requires_grad for call in group for leaf in call.leaves)
        for group in groups
    ]
    return next((i for i, depends in enumerate(depends_on_params) if depends), len(groups))


def _find_layout(
    skipped: Sequence[RecordedCall], following: Sequence[Tensor], tokens: Tensor
) -> tuple[HiddenLayout, set[tuple[str, int]]]:
    """Find the hidden states in the output of the last frozen call, and the calls to keep.

    The first tensor of an output is its hidden state. Others matter if the next layer reads them:
    as a further hidden state, or as the result of an earlier layer that does not depend on hidden
    states (a position bias, say), which is run again.

    Raises:
        CutError: If a tensor cannot be cached for each token.
    """
    leaves = skipped[-1].leaves
    places = [i for i, leaf in enumerate(leaves) if torch.is_tensor(leaf)]
    read = [i for i in places[1:] if any(leaves[i] is tensor for tensor in following)]
    shared = {i: _find_producer(skipped, leaves[i]) for i in read}
    shared = {i: call for i, call in shared.items() if call is not skipped[-1]}
    for i in read:
        if i not in shared and leaves[i].dim() != 3:  # type: ignore[attr-defined]
            shape = list(leaves[i].shape)  # type: ignore[attr-defined]
            raise CutError(f"the next layer also reads a tensor of shape {shape} of the last one")
    states = [*places[:1], *(i for i in read if i not in shared)]
    layout = HiddenLayout.find(leaves, states, tokens)
    if layout is None:
        shapes = ", ".join(str(list(leaves[i].shape)) for i in states)  # type: ignore[attr-defined]
        raise CutError(f"hidden states of shape {shapes} for tokens {list(tokens.shape)}")
    producers = {
        i: (call.name, call.repetition, _find_place(call, leaves[i])) for i, call in shared.items()
    }
    layout = layout.with_shared(producers)
    return layout, {producer[:2] for producer in producers.values()}


def _find_producer(calls: Sequence[RecordedCall], tensor: object) -> RecordedCall:
    """Return the first call with this very tensor in its output."""
    return next(call for call in calls if any(leaf is tensor for leaf in call.leaves))


def _find_place(call: RecordedCall, tensor: object) -> int:
    return next(i for i, leaf in enumerate(call.leaves) if leaf is tensor)


def _replace_layers(
    module: nn.Module, skipped: Sequence[RecordedCall], kept: set[tuple[str, int]]
) -> None:
    """Replace the layers of all skipped calls, except for what later calls need."""
    calls_by_name: dict[str, list[SkippedCall]] = {}
    for call in skipped:
        substitute = SkippedCall.of(call, call is skipped[-1], (call.name, call.repetition) in kept)
        calls_by_name.setdefault(call.name, []).append(substitute)
    for name, calls in calls_by_name.items():
        parent, _, key = name.rpartition(".")
        original = module.get_submodule(name)
        setattr(module.get_submodule(parent), key, FrozenLayer(name, original, calls))
