"""Which attributed parameters make one block, and of which kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fastif.data.examples import Batch
from fastif.gradients.graph_structure import structure_of
from fastif.gradients.hooks import Pass, leaves, owner_of
from fastif.gradients.layer_rules import is_linear, layer_gradients
from fastif.models.objective import Objective
from fastif.models.parameter_subset import Subset

LARGEST_SIDE = 8_192
"""Inputs or outputs of a linear layer whose factor is held and decomposed (0.5 GB each)."""
LARGEST_EIGEN = 1_024
"""Parameters of one owner that get a dense block."""

Kind = Literal["kronecker", "eigen", "diagonal"]


@dataclass(frozen=True)
class Group:
    """The parameters of one block; all belong to one owner.

    Attributes:
        kind: "kronecker" for a linear layer, "eigen" for a few other parameters together,
            "diagonal" for a large one.
        names: the parameters, in the order of a row.
    """

    kind: Kind
    names: tuple[str, ...]

    @property
    def owner(self) -> str:
        """The module they belong to, by name."""
        return owner_of(self.names[0])

    def named(self, own: str) -> str | None:
        """The full name of the parameter that its owner calls `own`, if it is in the group."""
        return next((name for name in self.names if name.rpartition(".")[2] == own), None)


def grouped(objective: Objective, few: Batch) -> tuple[Group, ...]:
    """Groups that hold every attributed parameter once, decided owner by owner.

    A linear layer is a Kronecker block if what goes in and the gradient of what comes out give its
    per-example gradients: seen on `few` examples, against a backward pass for each of them. So one
    that is tied, used outside its own calls, or applied to something that is no example is not.
    """
    owned: dict[str, list[str]] = {}
    for name in objective.space.names:
        owned.setdefault(owner_of(name), []).append(name)
    linear = _heard_exactly(objective, owned, few)
    return tuple(
        group
        for owner, names in owned.items()
        for group in _groups(objective, names, owner in linear)
    )


def _groups(objective: Objective, names: list[str], linear: bool) -> Iterator[Group]:
    if linear:
        yield Group("kronecker", tuple(names))
    elif sum(objective.params[name].numel() for name in names) <= LARGEST_EIGEN:
        yield Group("eigen", tuple(names))
    else:
        yield from (Group("diagonal", (name,)) for name in names)


def _heard_exactly(objective: Objective, owned: dict[str, list[str]], few: Batch) -> set[str]:
    """The linear layers whose per-example gradients follow from their inputs and outputs."""
    candidates = {
        owner: names
        for owner, names in owned.items()
        if _is_linear(objective.module.get_submodule(owner), names, owner)
    }
    if not candidates:
        return set()
    subset = Subset(objective, [name for names in candidates.values() for name in names])
    few = at_least_two(few)
    expected, made = _one_by_one(subset, few), Pass.run(subset, few)
    unfit = structure_of(made).objections
    heard = _heard(made, unfit)
    # Rounding is measured by the largest entry of all: some gradients are zero but for it.
    largest = max(float(tensor.abs().max()) for tensor in expected.values())
    noise = 100 * torch.finfo(objective.like.dtype).eps * largest
    zero = objective.like.new_zeros(())

    def right(name: str) -> bool:
        found = heard.get(name, zero).expand_as(expected[name])
        return torch.allclose(found, expected[name], rtol=1e-3, atol=noise)

    return {
        owner
        for owner, names in candidates.items()
        if owner not in unfit and all(map(right, names))
    }


def _is_linear(layer: nn.Module, names: list[str], owner: str) -> bool:
    if not is_linear(layer) or max(getattr(layer, "weight").shape) > LARGEST_SIDE:  # noqa: B009
        return False
    prefix = f"{owner}." if owner else ""
    return {name.removeprefix(prefix) for name in names} <= {"weight", "bias"}


def _one_by_one(objective: Objective, few: Batch) -> dict[str, Tensor]:
    """∇L of each example by a backward pass of its own."""
    found = []
    for index in range(len(few["labels"])):
        single = {key: tensor[index : index + 1] for key, tensor in few.items()}
        params = leaves(objective)
        with torch.enable_grad():
            loss = objective.losses(params, single).sum()
        if not loss.requires_grad:  # the model uses none of them
            found.append([torch.zeros_like(tensor) for tensor in params.values()])
            continue
        found.append(torch.autograd.grad(loss, tuple(params.values()), materialize_grads=True))
    stacked = (torch.stack(parts) for parts in zip(*found, strict=True))
    return dict(zip(objective.space.names, stacked, strict=True))


def _heard(made: Pass, unfit: Mapping[str, str]) -> dict[str, Tensor]:
    """The same by forward hooks, but for the layers that cannot be taken so."""
    found: dict[str, Tensor] = {}
    for call, delta in next(made.columns("losses"))[1]:
        if call.name in unfit:
            continue
        prefix = f"{call.name}." if call.name else ""
        for own, gradient in layer_gradients(call.layer, call.inputs, delta).items():
            name = prefix + own
            found[name] = found[name] + gradient if name in found else gradient
    return found


def at_least_two(batch: Batch) -> Batch:
    """The batch; an example by itself twice, so that its rows can be told from shared tables."""
    if len(batch["labels"]) != 1:
        return batch
    return {key: torch.cat([tensor, tensor]) for key, tensor in batch.items()}
