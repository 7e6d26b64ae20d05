"""Per-example gradients from one backward pass, by listening to the layers that own parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastif.examples import Batch
from fastif.layers import fill_linear, layer_gradients
from fastif.objective import Objective
from fastif.parameters import Params

Pulled = Literal["losses", "measures", "roots"]
"""What rows are gradients of: the training losses, what is asked of queries, or root columns."""


MIX = "mix"
"""Key of a batch that holds a weight for each example and root column; see `cotangents`."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer that owns parameters: what went in, what came out."""

    name: str
    layer: nn.Module
    inputs: Tensor
    outputs: Tensor


def fill_by_listening(
    objective: Objective, batch: Batch, of: Pulled, rows: Tensor
) -> Iterator[None]:
    """Fill `rows` once for the losses or measures, or once for each column of the root."""
    for heard in hear(objective, batch, of):
        _collect(objective, heard, rows)
        yield


def hear(objective: Objective, batch: Batch, of: Pulled) -> Iterator[list[tuple[Call, Tensor]]]:
    """Every call of a layer that owns attributed parameters, with the gradient at its output.

    Once for the losses or measures, or once for each column of the root; always the same calls, in
    the order they were made. A call from which no path leads to the outputs is left out.
    """
    with torch.enable_grad():
        outputs, calls = _listen(objective, leaves(objective), batch)
    calls = [call for call in calls if outputs.requires_grad and call.outputs.requires_grad]
    at = [call.outputs for call in calls]
    for cotangent in cotangents(objective, outputs, batch, of):
        deltas: tuple[Tensor | None, ...] = ()
        if at:
            deltas = torch.autograd.grad(
                outputs, at, cotangent, retain_graph=True, allow_unused=True
            )
        heard = zip(calls, deltas, strict=True)
        yield [(call, delta) for call, delta in heard if delta is not None]


def cotangents(
    objective: Objective, outputs: Tensor, batch: Batch, of: Pulled
) -> Iterator[Float[Tensor, "b c"]]:
    """What is pulled back through the model: a gradient in the outputs, or the root's columns.

    Where the batch holds weights z, the columns of the root S are mixed into the one column S z:
    over random signs the mean of (S z)(S z)ᵀ is S Sᵀ, and so it is over columns drawn by chance.
    """
    detached, targets = outputs.detach(), batch["labels"]
    if of == "roots":
        root = objective.loss.root(detached, targets)
        if MIX in batch:
            root = root @ batch[MIX].to(root.dtype)[:, :, None]
        yield from root.unbind(-1)
        return
    function = objective.loss if of == "losses" else objective.asked
    with torch.enable_grad():
        leaf = detached.requires_grad_()
        total = function(leaf, targets).sum()
    yield torch.autograd.grad(total, leaf)[0]


def leaves(objective: Objective) -> dict[str, Tensor]:
    """The trained parameters, as leaves to differentiate at."""
    return {name: tensor.detach().requires_grad_() for name, tensor in objective.params.items()}


def _owners(objective: Objective) -> dict[str, nn.Module]:
    """The modules that own attributed parameters, by name."""
    names = {owner_of(name) for name in objective.space.names}
    return {name: objective.module.get_submodule(name) for name in names}


def _listen(objective: Objective, params: Params, batch: Batch) -> tuple[Tensor, list[Call]]:
    """Run the model and note every call of a layer that owns attributed parameters."""
    calls: list[Call] = []
    handles = []
    for name, layer in _owners(objective).items():

        def note(layer: nn.Module, args: tuple, output: Tensor, name: str = name) -> None:
            calls.append(Call(name, layer, args[0].detach(), output))

        handles.append(layer.register_forward_hook(note))
    try:
        outputs = objective.outputs(params, batch)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, calls


def _collect(objective: Objective, heard: list[tuple[Call, Tensor]], rows: Tensor) -> None:
    """Write what the calls contribute into the rows; the calls of one layer are added up."""
    space = objective.space
    blocks = {
        name: rows[:, where].unflatten(1, shape or (1,))
        for name, where, shape in zip(space.names, space.slices, space.shapes, strict=True)
    }
    filled: set[str] = set()
    for call, delta in heard:
        if len(delta) != len(rows):
            raise ValueError(f"{call.name}: its first axis is not the example")
        prefix = f"{call.name}." if call.name else ""
        mine = {name.removeprefix(prefix): name for name in blocks if owner_of(name) == call.name}
        if isinstance(call.layer, nn.Linear) and not filled.intersection(mine.values()):
            fill_linear(call.inputs, delta, {own: blocks[name] for own, name in mine.items()})
        else:
            found = layer_gradients(call.layer, call.inputs, delta)
            for own, name in mine.items():
                add = blocks[name].add_ if name in filled else blocks[name].copy_
                add(found[own].view(blocks[name].shape))
        filled.update(mine.values())
    for name, block in blocks.items():
        if name not in filled:
            block.zero_()


def owner_of(name: str) -> str:
    """The module that a parameter belongs to, by name."""
    return name.rpartition(".")[0]


def used_outside(objective: Objective, batch: Batch) -> set[str]:
    """The parameters that reach the outputs other than through a call of their own layer.

    Seen from the graph and not from numbers: two examples can happen to have no gradient there.
    """
    params = leaves(objective)
    reached: list[Tensor] = []

    def cut(_: nn.Module, args: tuple, output: Tensor) -> Tensor:
        reached.extend(given for given in args if torch.is_tensor(given))
        return output.detach()

    handles = [layer.register_forward_hook(cut) for layer in _owners(objective).values()]
    try:
        with torch.enable_grad():
            reached.append(objective.outputs(params, batch))
    finally:
        for handle in handles:
            handle.remove()
    sums = [tensor.sum() for tensor in reached if tensor.requires_grad]
    if not sums:
        return set()
    paths = torch.autograd.grad(sums, tuple(params.values()), allow_unused=True)
    return {name for name, path in zip(params, paths, strict=True) if path is not None}
