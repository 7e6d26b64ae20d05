"""Objectives: a trained model with its loss, as a function of the attributed parameters."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from fastif.data.arrays import format_type_name
from fastif.data.examples import COLUMN_WEIGHTS, Batch, Examples
from fastif.data.tokenized_text import Side
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
from fastif.models.plain_module import AnyModule, check_quantised, unwrap_module, upcast_module
from fastif.numerics.arithmetic import upcast_half

NO_INPUTS = ("labels", COLUMN_WEIGHTS)
"""Keys of a batch that are not arguments of the module."""


class Objective(ABC):
    """Trained model with its loss, as a function of the attributed parameters.

    Training minimised 1/n Σ_i L_i(params) + penalty/2 ‖params‖².

    Attributes:
        loss: Training loss L of an example, in nats for the cross-entropies.
        measure: Function of a query to explain; None for its loss. A model trained with label
            smoothing or class weights is still evaluated by its plain loss.
        per_example_backward: Whether gradients take one backward pass for each example even if
            hooks would be exact.
        penalty: L2 weight decay of training. It adds penalty·I to the curvature and is in no
            example's gradient. 0 for decoupled decay (AdamW), which no loss contains.
        module: Module that owns the attributed parameters; gradients place hooks on its layers.
        full_model: Model with all layers; other than `module` where frozen layers are cut off.
        params: Trained values of the attributed parameters by name.
        space: Order and shapes of the parameters in a vector of length p.
    """

    loss: Loss
    measure: Measure | None = None
    penalty: float = 0.0
    per_example_backward: bool = False
    module: nn.Module
    full_model: nn.Module
    params: Params
    space: ParamSpace

    @property
    def query_measure(self) -> Measure:
        """Function of a query to explain: the measure, or the loss if there is none."""
        return self.measure or self.loss

    @property
    def like(self) -> Tensor:
        """Empty tensor with the dtype and device of the parameters."""
        return next(iter(self.params.values())).new_empty(0)

    @property
    def num_frozen_layers(self) -> int:
        """Number of frozen layers that run once; 0 if they run each time or there are none."""
        return 0

    @property
    def hidden_width(self) -> int:
        """Size of a token's hidden state above the frozen layers; 0 if they run each time."""
        return 0

    @property
    def padding_side(self) -> Side | None:
        """Side on which rows are padded; None if only rows of equal length share a batch."""
        return "right"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is unusual in the model, for its user; none by default."""
        return ()

    @abstractmethod
    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        """Return the model's outputs (logits of a classifier) at the given parameters."""

    @abstractmethod
    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        """Return the final representation: the input of the last linear layer."""

    def compute_prefix(self, batch: Batch) -> Batch:
        """Return the batch with hidden states of frozen layers; unchanged if there are none."""
        return batch

    def align_padding(self, batch: Batch) -> Batch:
        """Return the batch with padding on the side that the model needs; unchanged by default."""
        return batch

    def verify_shortcuts(self, *tables: Examples) -> None:
        """Test optimisations on rows of the tables, and undo what fails; none by default."""
        return None

    def make_fresh_copy(self) -> "Objective":
        """Return a copy with a module that has not run yet; the objective itself by default."""
        return self

    def losses(self, params: Params, batch: Batch) -> Float[Tensor, " b"]:
        """Return the training loss of each example."""
        return self.loss(upcast_half(self.outputs(params, batch)), batch["labels"])


class ModuleObjective(Objective):
    """Objective of any PyTorch module, for tables, images or own networks.

    Half-precision weights and buffers are computed in single precision, and floating-point inputs
    are converted to the type of the weights. A wrapper for several devices or for a compiler is
    removed.

    Args:
        module: Module that maps `batch["inputs"]`, and all other tensors of a batch by their names
            as keyword arguments, to outputs [b c]. Outputs [b], a mapping or an object with
            `logits`, and a tuple of one are accepted. It is copied and never changed.
        loss: Training loss of an example; a plain `nn.CrossEntropyLoss` is converted.
        attributed: Attributed parameters: "all", or regular expressions on their names.
        measure: Function of a query to explain; None for its loss.
        penalty: L2 weight decay of training, 0 or more, see `Objective`.
        output: Name or position of the explained output of a module with several, such as heads of
            a multi-task model; None for a single output. Losses of the others are in neither
            gradients nor curvature.

    Raises:
        InputError: If no parameter matches, a weight is not finite or is quantised, the loss is not
            supported, or the penalty is below 0; from `outputs`, if they are not [b c].

    Examples:
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
        output: str | int | None = None,
    ) -> None:
        self.output = output
        module = unwrap_module(module)
        if not isinstance(module, nn.Module):
            raise InputError(
                "model", "a torch module", format_type_name(module), "Give an nn.Module."
            )
        check_quantised(module)
        check_finite(module, type(module).__name__)
        self.loss, self.measure = as_loss(loss), as_measure(measure)
        self.penalty = check_penalty(penalty)
        self.module = self.full_model = frozen_copy(upcast_module(module))
        self._unused = frozen_copy(self.module)
        names = [name for name, _ in self.module.named_parameters()]
        chosen = names if attributed == "all" else match_names(names, attributed)
        self.params = select_attributed_params(self.module, chosen)
        self.space = ParamSpace.from_params(self.params)

    def make_fresh_copy(self) -> "ModuleObjective":
        other = copy.copy(self)
        other.module = other.full_model = frozen_copy(self._unused)
        return other

    @property
    def notes(self) -> tuple[str, ...]:
        if self.output is None:
            return ()
        sentence = "losses of its other outputs are in neither gradients nor curvature"
        return (f"Of several outputs {self.output!r} is explained; {sentence}.",)

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        inputs = {
            name: tensor.to(self.like.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in batch.items()
            if name not in NO_INPUTS
        }
        args = (inputs.pop("inputs"),) if "inputs" in inputs else ()
        output = functional_call(self.module, dict(params), args, inputs)
        if isinstance(output, tuple | list) and len(output) > 1 and self.output is None:
            raise InputError(
                type(self.module).__name__,
                "one tensor of outputs [b c]",
                f"a {type(output).__name__} of {len(output)}",
                "Choose one: ModuleObjective(output=0), or [model] output = 0 in a study with a "
                "factory; or wrap the module in one that returns the logits alone.",
            )
        name = type(self.module).__name__
        return extract_logits(output, len(batch["labels"]), name, self.output)

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        return capture_last_linear_input(self.module, lambda: self.outputs(self.params, batch))


def check_penalty(penalty: float) -> float:
    """Return the penalty if it is valid.

    Raises:
        InputError: If it is not a finite number of 0 or more.
    """
    if not 0 <= penalty < math.inf:
        raise InputError(
            "penalty",
            "the L2 weight decay of training, a finite number >= 0",
            f"{penalty}",
            "Remove it for decoupled weight decay (AdamW) or none.",
        )
    return penalty


def frozen_copy(module: AnyModule) -> AnyModule:
    """Return a copy in evaluation mode that shares the weights; the original stays unchanged.

    Buffers are copied, because a module may change its own in a forward pass.

    Raises:
        InputError: If a part of the module cannot be copied.
    """
    shared = {id(tensor): tensor for tensor in module.parameters()}
    try:
        frozen = copy.deepcopy(module, shared).eval()
    except Exception as error:  # parts of the module may raise anything
        raise InputError(
            type(module).__name__,
            "a module that can be copied",
            f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            "Remove what it stores from a forward pass or cannot copy: weight norm (call "
            "remove_weight_norm), a stored output, a lock, an open file.",
        ) from error
    for layer in frozen.modules():
        if getattr(layer, "inplace", False):
            # an activation that overwrites a layer's output hides its gradient
            setattr(layer, "inplace", False)  # noqa: B010
    return frozen


def select_attributed_params(module: nn.Module, names: Sequence[str]) -> Params:
    """Return the trained values of the named parameters, detached.

    Raises:
        InputError: If the list of names is empty.
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
    """Run `call` and return the input of the last linear layer of `module`.

    Raises:
        InputError: If the module has no linear layer.
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
