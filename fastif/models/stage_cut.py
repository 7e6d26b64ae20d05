"""Truncated image models: frozen modules are left out and replaced by their cached outputs.

The truncation point is a stage or the head. Every module that ended before it is replaced by one
that returns zeros of the same shape, so that not even pixel values are read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from fastif.models.image_stages import find_head, find_stages
from fastif.models.module_calls import ModuleCall, get_argument, record_calls
from fastif.models.objective import frozen_copy
from fastif.models.parameters import Params, make_leaf_params

_injected_hidden: ContextVar[Tensor | None] = ContextVar("_injected_hidden", default=None)
Inputs = dict[str, Tensor]
MAX_TRIALS = 4
"""Number of truncation points that are tried, the last one first."""


@dataclass(frozen=True, eq=False)
class TruncatedImageModel:
    """Image model without the modules that run before a stage or the head.

    Attributes:
        name: Full name of the module at which the model begins.
        module: Remaining model.
        skipped: Names of the modules that are left out.
        shape: Shape of an image's hidden state.
        pixel_shape: Shape of an image's pixel values.
    """

    name: str
    module: nn.Module
    skipped: tuple[str, ...]
    shape: tuple[int, ...]
    pixel_shape: tuple[int, ...]

    @torch.no_grad()
    def compute_hidden_states(
        self, full_model: PreTrainedModel, inputs: Inputs
    ) -> Float[Tensor, "b *x"]:
        """Run the full model to the truncation point and return the hidden states."""
        captured: list[Tensor] = []

        def stop(_: nn.Module, args: tuple, kwargs: dict) -> None:
            argument = get_argument(args, kwargs)
            captured.extend([] if argument is None else [argument])
            raise _ReachedError

        layer = full_model.get_submodule(self.name)
        handle = layer.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            full_model(**inputs)
        except _ReachedError:
            pass
        finally:
            handle.remove()
        return captured[0]

    def make_inputs(self, hidden: Float[Tensor, "b *x"]) -> Inputs:
        """Return keyword arguments in place of pixel values that are not read."""
        return {"pixel_values": hidden.new_zeros(1).expand(len(hidden), *self.pixel_shape)}

    @contextmanager
    def inject_hidden(self, hidden: Float[Tensor, "b *x"]) -> Iterator[None]:
        """Context manager in which the module continues from these hidden states."""
        token = _injected_hidden.set(hidden)
        try:
            yield
        finally:
            _injected_hidden.reset(token)


def list_cuts(
    full_model: PreTrainedModel, params: Params, inputs: Inputs
) -> Iterator[Callable[[], TruncatedImageModel]]:
    """Yield functions that truncate a model where its hidden states depend on no parameter.

    The autograd graph decides. Truncation points are the stages and the head; the last one comes
    first. Each is to be compared with the full model, which may use earlier hidden states further
    on.

    Args:
        full_model: Model to truncate.
        params: Attributed parameters.
        inputs: Keyword arguments of a trial run of several images.
    """
    trial = frozen_copy(full_model)  # a module may store parts of the graph
    with torch.enable_grad():
        calls = record_calls(trial, inputs, make_leaf_params(params))
    names = [*find_stages(full_model), find_head(calls, full_model)]
    points = [call for call in calls if call.name in names and _is_frozen(call)]
    points = [call for call in points if sum(each.name == call.name for each in calls) == 1]

    def make_cut(point: ModuleCall) -> TruncatedImageModel:
        assert point.argument is not None
        skipped = _list_skipped(calls, point)
        module = frozen_copy(full_model)
        count = len(inputs["pixel_values"])
        for call in skipped:
            # The module stays for code that reads its attributes.
            structure = _map_tensors(call.output, count)
            setattr(module.get_submodule(call.name), "forward", _ZeroOutput(structure))  # noqa: B010
        first = module.get_submodule(point.name)
        first.register_forward_pre_hook(inject_hidden_states, with_kwargs=True)
        shape = tuple(point.argument.shape[1:])
        names = tuple(call.name for call in skipped)
        pixel_shape = tuple(inputs["pixel_values"].shape[1:])
        return TruncatedImageModel(point.name, module, names, shape, pixel_shape)

    for point in reversed(points[-MAX_TRIALS:]):
        yield lambda point=point: make_cut(point)


class _ReachedError(Exception):
    """Exception that ends a forward pass at the truncation point."""


def _is_frozen(call: ModuleCall) -> bool:
    return call.argument is not None and not call.argument.requires_grad


def _list_skipped(calls: Sequence[ModuleCall], point: ModuleCall) -> list[ModuleCall]:
    """Return the outermost calls that ended before a call, of modules that do not run later."""
    later = {call.name for call in calls if call.stop > point.start}
    ended = [call for call in calls if call.stop < point.start and call.name not in later]
    outermost: list[ModuleCall] = []
    for call in ended:  # in the order of their begin
        if not outermost or call.stop > outermost[-1].stop:
            outermost.append(call)
    names: set[str] = set()
    return [call for call in outermost if not (call.name in names or names.add(call.name))]


@dataclass(frozen=True)
class _ZeroOutput:
    """Forward pass of a frozen module: zeros in the structure of its output in a trial run.

    Attributes:
        structure: Output of the trial run, with shapes in place of tensors.
    """

    structure: object

    def __call__(self, *args: object, **kwargs: object) -> object:
        hidden = _injected_hidden.get()
        assert hidden is not None
        return _fill_structure(self.structure, hidden)


@dataclass(frozen=True)
class _TensorShape:
    """Shape of a tensor in a trial run, and the images of that run."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    count: int

    def fill(self, hidden: Tensor) -> Tensor:
        """Return zeros for the images of a batch."""
        shape, count = self.shape, len(hidden)
        if shape and shape[0] % self.count == 0:  # also windows of images
            shape = (shape[0] // self.count * count, *shape[1:])
        return torch.zeros(shape, dtype=self.dtype, device=hidden.device)


def _map_tensors(value: object, count: int) -> object:
    if isinstance(value, Tensor):
        return _TensorShape(tuple(value.shape), value.dtype, count)
    if isinstance(value, Mapping):
        return type(value)(**{key: _map_tensors(item, count) for key, item in value.items()})
    if isinstance(value, tuple | list):
        return type(value)([_map_tensors(item, count) for item in value])
    return value


def _fill_structure(value: object, hidden: Tensor) -> object:
    if isinstance(value, _TensorShape):
        return value.fill(hidden)
    if isinstance(value, Mapping):
        return type(value)(**{key: _fill_structure(item, hidden) for key, item in value.items()})
    if isinstance(value, tuple | list):
        return type(value)([_fill_structure(item, hidden) for item in value])
    return value


def inject_hidden_states(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    """Forward pre-hook that replaces the first argument by the injected hidden states, if any."""
    hidden = _injected_hidden.get()
    if hidden is None:
        return None
    if args:
        return (hidden, *args[1:]), kwargs
    first = next(iter(kwargs))
    return args, {**kwargs, first: hidden}
