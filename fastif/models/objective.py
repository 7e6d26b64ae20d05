"""Objective: what was trained, what is asked, and where to look."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from fastif.data.arrays import format_type_name
from fastif.data.examples import Batch
from fastif.data.torch_forms import as_loss, as_measure
from fastif.errors import InputError
from fastif.losses import Loss, Measure
from fastif.models.classifier_head import extract_logits
from fastif.models.parameters import (
    Params,
    ParamSpace,
    check_finite,
    match_names,
)
from fastif.numerics.arithmetic import HALF, upcast_half

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Objective(ABC):
    """A trained model with its loss, seen as a function of its attributed parameters.

    Attributes:
        loss: the training loss of an example.
        measure: what is asked of a query, where that is not its loss. A model trained with label
            smoothing or class weights is still judged by its plain loss.
        per_example_backward: whether gradients are to be taken by a backward pass an example,
            whatever quicker ways there are; False unless set.
        penalty: the L2 weight decay that was part of training: 1/n Σ L_i + penalty/2 ‖params‖² was
            minimised. It belongs to the curvature, which it raises by penalty·I; no gradient of an
            example holds it. 0 for decoupled decay (AdamW), which no loss contains.
        module: where the attributed parameters live; gradients listen to its layers.
        params: their trained values.
        space: their order in a row.
    """

    loss: Loss
    measure: Measure | None = None
    penalty: float = 0.0
    per_example_backward: bool = False
    module: nn.Module
    params: Params
    space: ParamSpace

    @property
    def query_measure(self) -> Measure:
        """What is asked of a query: the measure, or the loss where there is none."""
        return self.measure or self.loss

    @property
    def like(self) -> Tensor:
        """An empty tensor of the parameters' type and device."""
        return next(iter(self.params.values())).new_empty(0)

    @abstractmethod
    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        """The model's outputs (logits of a classifier) at these parameters."""

    @abstractmethod
    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        """The final representation: what the last linear layer is given."""

    def compute_prefix(self, batch: Batch) -> Batch:
        """The batch with its frozen part already computed; as it is where nothing is frozen."""
        return batch

    def align_padding(self, batch: Batch) -> Batch:
        """The batch with its padding where the model wants it; as it is where there is none."""
        return batch

    def make_fresh_copy(self) -> "Objective":
        """The same with a module that has not run yet; as it is where there is none."""
        return self

    def losses(self, params: Params, batch: Batch) -> Float[Tensor, " b"]:
        """The loss of each example, in nats."""
        return self.loss(upcast_half(self.outputs(params, batch)), batch["labels"])


class ModuleObjective(Objective):
    """Any module of one input tensor, with a loss: tables, images, your own network.

    Weights and buffers of half precision are computed with in single precision, and inputs of
    floating point are brought to the type of the weights. A wrapper for several devices or for a
    compiler is taken off.

    Args:
        module: maps `batch["inputs"]` to outputs [b c]; [b], a mapping or an object with `logits`,
            and a tuple of one will do. It is copied, never changed.
        loss: the loss it was trained with, per example; a plain `nn.CrossEntropyLoss` will do.
        attributed: "all", or regular expressions on parameter names.
        measure: what is asked of a query; its loss if left out.
        penalty: the L2 weight decay it was trained with, see `Objective`.

    Raises:
        InputError: no parameter matches, a weight is not finite or quantised, the loss is none of
            ours, or the penalty is below 0; on use, the outputs are not [b c].

    >>> from fastif.losses import SquaredError
    >>> objective = ModuleObjective(nn.Linear(2, 1), SquaredError(), ["weight"])
    >>> objective.space.names, objective.space.size
    (('weight',), 2)
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss | nn.Module | Callable,
        attributed: Literal["all"] | Sequence[str] = "all",
        measure: Measure | nn.Module | Callable | None = None,
        penalty: float = 0.0,
    ) -> None:
        module = unwrap_module(module)
        if not isinstance(module, nn.Module):
            raise InputError(
                "model", "a torch module", format_type_name(module), "Give an nn.Module."
            )
        check_quantised(module)
        check_finite(module, type(module).__name__)
        self.loss, self.measure = as_loss(loss), as_measure(measure)
        self.penalty = check_penalty(penalty)
        self.module = frozen_copy(upcast_module(module))
        self._unused = frozen_copy(self.module)
        names = [name for name, _ in self.module.named_parameters()]
        chosen = names if attributed == "all" else match_names(names, attributed)
        self.params = select_attributed_params(self.module, chosen)
        self.space = ParamSpace.from_params(self.params)

    def make_fresh_copy(self) -> "ModuleObjective":
        other = copy.copy(self)
        other.module = frozen_copy(self._unused)
        return other

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        inputs = batch["inputs"]
        if inputs.is_floating_point():
            inputs = inputs.to(self.like.dtype)
        output = functional_call(self.module, dict(params), (inputs,))
        if isinstance(output, tuple | list) and len(output) > 1:
            raise InputError(
                type(self.module).__name__,
                "one tensor of outputs [b c]",
                f"a {type(output).__name__} of {len(output)}",
                "Wrap the module in one that returns the logits alone.",
            )
        return extract_logits(output, len(inputs), type(self.module).__name__)

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        return capture_last_linear_input(self.module, lambda: self.outputs(self.params, batch))


def unwrap_module(module: nn.Module) -> nn.Module:
    """The module itself, out of what wraps it for several devices or for a compiler."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(module, wrappers) or hasattr(module, "_orig_mod"):
        module = getattr(module, "_orig_mod", None) or getattr(module, "module")  # noqa: B009
    return module


def check_quantised(module: nn.Module) -> None:
    """Refuse layers whose weights are integers: no gradient passes through them.

    Raises:
        InputError: naming the first.
    """
    for name, layer in module.named_modules():
        weights = [p for p in layer.parameters(recurse=False) if not p.is_floating_point()]
        if weights or ".quantized" in type(layer).__module__:
            raise InputError(
                type(module).__name__,
                "weights of floating point",
                f"the quantised layer {name or 'itself'} ({type(layer).__name__})",
                "Take the model as it was before quantisation.",
            )


def upcast_module(module: AnyModule) -> AnyModule:
    """The module, or a copy in single precision if some of it is in half precision."""
    tensors = (*module.parameters(), *module.buffers())
    if not any(tensor.dtype in HALF for tensor in tensors):
        return module
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return copy.deepcopy(module).to(torch.float64 if wide else torch.float32)


def check_penalty(penalty: float) -> float:
    """The penalty itself.

    Raises:
        InputError: it is not a finite number of 0 or more.
    """
    if not 0 <= penalty < math.inf:
        raise InputError(
            "penalty",
            "the L2 weight decay of training, a finite number >= 0",
            f"{penalty}",
            "Leave it out for decoupled weight decay (AdamW) or none.",
        )
    return penalty


def frozen_copy(module: AnyModule) -> AnyModule:
    """A copy in evaluation mode that shares the weights; the caller's module stays as it is.

    Buffers are copied: a module may change its own as it runs.

    Raises:
        InputError: some part of it cannot be copied.
    """
    shared = {id(tensor): tensor for tensor in module.parameters()}
    try:
        frozen = copy.deepcopy(module, shared).eval()
    except Exception as error:  # whatever its parts raise
        raise InputError(
            type(module).__name__,
            "a module that can be copied",
            f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            "Take off what it keeps from a forward pass, or cannot copy: remove_weight_norm, a "
            "stored output, a lock, an open file.",
        ) from error
    for layer in frozen.modules():
        if getattr(layer, "inplace", False):
            # an activation that overwrites a layer's output hides its gradient
            setattr(layer, "inplace", False)  # noqa: B010
    return frozen


def select_attributed_params(module: nn.Module, names: Sequence[str]) -> Params:
    """The trained values of the named parameters, detached.

    Raises:
        InputError: there is none, or one is not of floating point.
    """
    if not names:
        raise InputError(
            "attributed parameters", "at least one", "none", 'Use "all" or a pattern that matches.'
        )
    tensors = dict(module.named_parameters())
    return {name: tensors[name].detach() for name in names}


@torch.no_grad()
def capture_last_linear_input(
    module: nn.Module, call: Callable[[], object]
) -> Float[Tensor, "b d"]:
    """Run `call` and return what the last linear layer of `module` was given.

    Raises:
        InputError: the module has no linear layer.
    """
    captured: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: captured.update(last=inputs[0]))
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    if not captured:
        raise InputError(
            type(module).__name__,
            "a linear layer to take the final representation from",
            "none",
            'Use the full training set as candidates (kind = "full").',
        )
    return captured["last"].flatten(1)
