"""Truncated models: frozen layers are left out and replaced by their cached hidden states.

Only layers are left out. Embeddings, masks, positions and the head get the same tokens as in the
full model, so that the head finds what it looks up by them, such as the last token.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from fastif.models.objective import frozen_copy
from fastif.models.parameters import Params

_injected_hidden: ContextVar[Tensor | None] = ContextVar("_given", default=None)
Inputs = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class TruncatedModel:
    """Model without its first layers.

    Attributes:
        path: Full name of the list of layers.
        index: Number of layers that are left out.
        module: Remaining model; layers before the truncation point return their input.
        token_first: Whether hidden states in the model are [t b d] instead of [b t d].
        width: Size d of a hidden state.
    """

    path: str
    index: int
    module: nn.Module
    token_first: bool
    width: int

    def compute_hidden_states(
        self, full_model: PreTrainedModel, inputs: Inputs
    ) -> Float[Tensor, "b t d"]:
        """Run the full model to the truncation point and return the hidden states."""
        hidden = _forward_until(full_model, full_model.get_submodule(self.path)[self.index], inputs)  # type: ignore[index]
        return hidden.transpose(0, 1) if self.token_first else hidden

    @contextmanager
    def inject_hidden(self, hidden: Float[Tensor, "b t d"]) -> Iterator[None]:
        """Context manager in which the module continues from these hidden states."""
        token = _injected_hidden.set(hidden.transpose(0, 1) if self.token_first else hidden)
        try:
            yield
        finally:
            _injected_hidden.reset(token)


class CutError(Exception):
    """Reason why a model cannot be truncated."""


def cut_frozen_layers(
    full_model: PreTrainedModel, path: str, params: Params, inputs: Inputs
) -> TruncatedModel | None:
    """Return the model without layers that do not depend on the attributed parameters.

    Args:
        full_model: Model to truncate.
        path: Full name of its list of layers.
        params: Attributed parameters.
        inputs: Keyword arguments of a trial run that finds these layers and their output structure.

    Returns:
        The truncated model; None if no layer is frozen.

    Raises:
        CutError: If layers are frozen and cannot be left out.
    """
    index = _count_frozen_layers(full_model, path, params, inputs)
    if index < 1:
        return None
    layers = list(full_model.get_submodule(path).children())
    hidden, shape = _forward_until(full_model, layers[index], inputs), inputs["input_ids"].shape
    if hidden.dim() != 3 or hidden.shape[:2] not in (shape, shape[::-1]):
        raise CutError(f"hidden states of shape {list(hidden.shape)} for tokens {list(shape)}")
    module = frozen_copy(full_model)
    remaining = module.get_submodule(path)
    structures = _record_structures(full_model, layers[:index], inputs)
    for name, (layer, structure) in enumerate(zip(layers, structures, strict=False)):
        setattr(remaining, str(name), _SkippedLayer(layer, structure))
    remaining.get_submodule(str(index)).register_forward_pre_hook(_replace_hidden, with_kwargs=True)
    return TruncatedModel(path, index, module, hidden.shape[:2] != shape, hidden.shape[-1])


class _SkippedLayer(nn.Module):
    """Replacement of a frozen layer: returns its first argument in the layer's output structure.

    Models read attributes of a layer before they call it (its kind of attention, say), so it has
    the plain attributes of the layer.
    """

    def __init__(self, layer: nn.Module, structure: Sequence[object] | None) -> None:
        super().__init__()
        own = vars(self)
        own.update({key: value for key, value in vars(layer).items() if key not in own})
        self.structure = structure

    def forward(self, *args: object, **kwargs: object) -> object:
        hidden = _get_hidden_argument(args, kwargs)
        if self.structure is None:
            return hidden
        return type(self.structure)([hidden, *self.structure[1:]])  # type: ignore[call-arg]


class _ReachedError(Exception):
    """Exception that ends a forward pass at the truncation point."""


def _get_hidden_argument(args: tuple, kwargs: dict) -> Tensor:
    """Return the hidden states among the arguments of a layer."""
    return args[0] if args else kwargs["hidden_states"]


def _replace_hidden(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    hidden = _injected_hidden.get()
    if hidden is None:
        return None
    return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})


def _forward_until(model: nn.Module, layer: nn.Module, inputs: Inputs) -> Tensor:
    """Run the model up to `layer` and return the hidden states of its arguments."""
    captured: list[Tensor] = []

    def stop(_: nn.Module, args: tuple, kwargs: dict) -> None:
        captured.append(_get_hidden_argument(args, kwargs))
        raise _ReachedError

    handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(**inputs)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return captured[0]


def _count_frozen_layers(
    full_model: PreTrainedModel, path: str, params: Params, inputs: Inputs
) -> int:
    """Count the layers that can be left out: inputs of the next one depend on no parameter.

    The autograd graph decides: hidden states with a path to a parameter are not frozen, wherever in
    the model the parameter is. At least one layer remains.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
    depends_on_params: list[bool] = []

    def record(_: nn.Module, args: tuple, kwargs: dict) -> None:
        depends_on_params.append(_get_hidden_argument(args, kwargs).requires_grad)

    layers = list(full_model.get_submodule(path).children())
    handles = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    try:
        with torch.enable_grad():
            functional_call(full_model, leaves, (), inputs)
    finally:
        for handle in handles:
            handle.remove()
    if len(depends_on_params) != len(layers):
        raise CutError(f"{len(layers)} layers are called {len(depends_on_params)} times")
    return next((i for i, depends in enumerate(depends_on_params) if depends), len(layers)) - 1


@torch.no_grad()
def _record_structures(
    full_model: PreTrainedModel, layers: Sequence[nn.Module], inputs: Inputs
) -> list[Sequence[object] | None]:
    """Return the output structure of each layer without tensors; None for a plain tensor."""
    structures: list[Sequence[object] | None] = []

    def record(_: nn.Module, args: tuple, output: object) -> None:
        if isinstance(output, (tuple, list)):
            structures.append(
                type(output)(None if torch.is_tensor(item) else item for item in output)
            )
        else:
            structures.append(None)

    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        full_model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return structures
