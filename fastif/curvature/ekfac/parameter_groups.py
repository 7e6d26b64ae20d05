"""Partition of the attributed parameters into curvature blocks, and the kind of each block."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fastif.data.examples import Batch
from fastif.gradients.graph_structure import read_graph_structure
from fastif.gradients.hooks import HookedPass, get_owner_name
from fastif.gradients.layer_factors import has_transposed_weight, is_linear
from fastif.gradients.layer_rules import compute_layer_gradients
from fastif.models.objective import Objective
from fastif.models.parameter_subset import ParameterSubset
from fastif.models.parameters import make_leaf_params

MAX_FACTOR_SIZE = 8_192
"""Largest number of inputs or outputs of a linear layer with Kronecker factors (0.5 GB each)."""
MAX_DENSE_BLOCK = 1_024
"""Largest number of parameters of one module that get a dense block."""

BlockKind = Literal["kronecker", "kronecker-transposed", "eigen", "diagonal"]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of one curvature block; all belong to one module.

    Attributes:
        kind: "kronecker" for a linear layer, "kronecker-transposed" if its weight is [i o], "eigen"
            for a dense block of a few other parameters, "diagonal" for one large parameter.
        names: Full names of the parameters, in the order of a vector.
    """

    kind: BlockKind
    names: tuple[str, ...]

    @property
    def owner(self) -> str:
        """Full name of the module that owns the parameters."""
        return get_owner_name(self.names[0])

    @property
    def is_kronecker(self) -> bool:
        """Whether the group is a linear layer."""
        return self.kind in ("kronecker", "kronecker-transposed")

    @property
    def is_transposed(self) -> bool:
        """Whether the group is a linear layer with a weight [i o] of inputs x outputs."""
        return self.kind == "kronecker-transposed"

    def find_name(self, local_name: str) -> str | None:
        """Return the full name of the owner's parameter `local_name`; None if not in the group."""
        return next((name for name in self.names if name.rpartition(".")[2] == local_name), None)


def group_parameters(objective: Objective, trial_batch: Batch) -> tuple[ParameterGroup, ...]:
    """Partition all attributed parameters into groups, module by module.

    A linear layer gets a Kronecker block if its inputs and output gradients give its per-example
    gradients. This is tested on a trial batch, against one backward pass for each example. A layer
    that is tied, used outside of its own calls, or applied along another axis than that of the
    examples fails the test and gets a dense or a diagonal block.

    Args:
        objective: Trained model with its loss.
        trial_batch: Few examples of finite loss.
    """
    owned: dict[str, list[str]] = {}
    for name in objective.space.names:
        owned.setdefault(get_owner_name(name), []).append(name)
    linear = _find_exact_layers(objective, owned, trial_batch)
    return tuple(
        group
        for owner, names in owned.items()
        for group in _make_groups(objective, owner, names, owner in linear)
    )


def _make_groups(
    objective: Objective, owner: str, names: list[str], linear: bool
) -> Iterator[ParameterGroup]:
    if linear:
        transposed = has_transposed_weight(objective.module.get_submodule(owner))
        yield ParameterGroup("kronecker-transposed" if transposed else "kronecker", tuple(names))
    elif sum(objective.params[name].numel() for name in names) <= MAX_DENSE_BLOCK:
        yield ParameterGroup("eigen", tuple(names))
    else:
        yield from (ParameterGroup("diagonal", (name,)) for name in names)


def _find_exact_layers(
    objective: Objective, owned: dict[str, list[str]], trial_batch: Batch
) -> set[str]:
    """Return the linear layers with per-example gradients that follow from inputs and deltas."""
    candidates = {
        owner: names
        for owner, names in owned.items()
        if _is_linear(objective.module.get_submodule(owner), names, owner)
    }
    if not candidates:
        return set()
    subset = ParameterSubset(objective, [name for names in candidates.values() for name in names])
    trial_batch = ensure_two_examples(trial_batch)
    expected, forward_pass = (
        _compute_per_example_gradients(subset, trial_batch),
        HookedPass.run(subset, trial_batch),
    )
    unsupported = read_graph_structure(forward_pass).unsupported_layers
    hook_gradients = _compute_hook_gradients(forward_pass, unsupported)
    # Rounding scales with the largest entry of all: some exact gradients are zero.
    largest = max(float(tensor.abs().max()) for tensor in expected.values())
    noise = 100 * torch.finfo(objective.like.dtype).eps * largest
    zero = objective.like.new_zeros(())

    def is_close(name: str) -> bool:
        gradient = hook_gradients.get(name, zero).expand_as(expected[name])
        return torch.allclose(gradient, expected[name], rtol=1e-3, atol=noise)

    return {
        owner
        for owner, names in candidates.items()
        if owner not in unsupported and all(map(is_close, names))
    }


def _is_linear(layer: nn.Module, names: list[str], owner: str) -> bool:
    if not is_linear(layer) or max(getattr(layer, "weight").shape) > MAX_FACTOR_SIZE:  # noqa: B009
        return False
    prefix = f"{owner}." if owner else ""
    return {name.removeprefix(prefix) for name in names} <= {"weight", "bias"}


def _compute_per_example_gradients(objective: Objective, batch: Batch) -> dict[str, Tensor]:
    """Return the loss gradient of each example, from one backward pass each."""
    gradients = []
    for index in range(len(batch["labels"])):
        single = {key: tensor[index : index + 1] for key, tensor in batch.items()}
        params = make_leaf_params(objective.params)
        with torch.enable_grad():
            loss = objective.losses(params, single).sum()
        if not loss.requires_grad:  # the model uses none of them
            gradients.append([torch.zeros_like(tensor) for tensor in params.values()])
            continue
        gradients.append(torch.autograd.grad(loss, tuple(params.values()), materialize_grads=True))
    stacked = (torch.stack(per_example) for per_example in zip(*gradients, strict=True))
    return dict(zip(objective.space.names, stacked, strict=True))


def _compute_hook_gradients(
    forward_pass: HookedPass, unsupported: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return the loss gradient of each example from forward hooks, without unsupported layers."""
    gradients: dict[str, Tensor] = {}
    for call, delta in next(forward_pass.backpropagate("losses"))[1]:
        if call.name in unsupported:
            continue
        prefix = f"{call.name}." if call.name else ""
        for local_name, gradient in compute_layer_gradients(call.layer, call.inputs, delta).items():
            name = prefix + local_name
            gradients[name] = gradients[name] + gradient if name in gradients else gradient
    return gradients


def ensure_two_examples(batch: Batch) -> Batch:
    """Return the batch, with a single example doubled.

    With two examples, tensors along the batch can be distinguished from tables that examples share.
    """
    if len(batch["labels"]) != 1:
        return batch
    return {key: torch.cat([tensor, tensor]) for key, tensor in batch.items()}
