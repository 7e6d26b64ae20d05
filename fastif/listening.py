"""Per-example gradients from one backward pass, by listening to the layers that own parameters."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastif.examples import Batch
from fastif.layers import fill_linear, layer_gradients
from fastif.objective import Objective
from fastif.parameters import Params


@dataclass
class _Call:
    """One call of a layer that owns parameters: what went in, what came out."""

    name: str
    layer: nn.Module
    inputs: Tensor
    outputs: Tensor


def fill_by_listening(
    objective: Objective, batch: Batch, loss: bool, rows: Tensor
) -> Iterator[None]:
    """Fill `rows` once for the losses, or once for each column of the root."""
    params = leaves(objective)
    with torch.enable_grad():
        outputs, calls = _listen(objective, params, batch)
    heard = [call.outputs for call in calls]
    for cotangent in cotangents(objective, outputs, batch, loss):
        deltas = torch.autograd.grad(
            outputs, heard, cotangent, retain_graph=True, allow_unused=True
        )
        _collect(objective, calls, deltas, rows)
        yield


def cotangents(
    objective: Objective, outputs: Tensor, batch: Batch, loss: bool
) -> Iterator[Float[Tensor, "b c"]]:
    """What is pulled back through the model: the loss's gradient, or the columns of its root."""
    detached = outputs.detach()
    if not loss:
        yield from objective.loss.root(detached).unbind(-1)
        return
    with torch.enable_grad():
        leaf = detached.requires_grad_()
        total = objective.loss(leaf, batch["labels"]).sum()
    yield torch.autograd.grad(total, leaf)[0]


def leaves(objective: Objective) -> dict[str, Tensor]:
    """The trained parameters, as leaves to differentiate at."""
    return {name: tensor.detach().requires_grad_() for name, tensor in objective.params.items()}


def _owners(objective: Objective) -> dict[str, nn.Module]:
    """The modules that own attributed parameters, by name."""
    names = {_owner(name) for name in objective.space.names}
    return {name: objective.module.get_submodule(name) for name in names}


def _listen(objective: Objective, params: Params, batch: Batch) -> tuple[Tensor, list[_Call]]:
    """Run the model and note every call of a layer that owns attributed parameters."""
    calls: list[_Call] = []
    handles = []
    for name, layer in _owners(objective).items():

        def note(layer: nn.Module, args: tuple, output: Tensor, name: str = name) -> None:
            calls.append(_Call(name, layer, args[0].detach(), output))

        handles.append(layer.register_forward_hook(note))
    try:
        outputs = objective.outputs(params, batch)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, calls


def _collect(
    objective: Objective, calls: list[_Call], deltas: tuple[Tensor | None, ...], rows: Tensor
) -> None:
    """Write what the calls contribute into the rows; the calls of one layer are added up."""
    space = objective.space
    blocks = {
        name: rows[:, where].unflatten(1, shape or (1,))
        for name, where, shape in zip(space.names, space.slices, space.shapes, strict=True)
    }
    filled: set[str] = set()
    for call, delta in zip(calls, deltas, strict=True):
        if delta is None:
            continue
        if len(delta) != len(rows):
            raise ValueError(f"{call.name}: its first axis is not the example")
        prefix = f"{call.name}." if call.name else ""
        mine = {name.removeprefix(prefix): name for name in blocks if _owner(name) == call.name}
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


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def used_outside(objective: Objective, batch: Batch) -> bool:
    """Whether a parameter reaches the outputs other than through a call of its own layer.

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
        return False
    paths = torch.autograd.grad(sums, tuple(params.values()), allow_unused=True)
    return any(path is not None for path in paths)
