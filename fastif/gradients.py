"""Per-example gradients, taken a tile at a time and multiplied with many rows at once.

One backward pass over a tile gives, for every layer that owns attributed parameters, the layer's
input and the gradient at its output; from these two the gradient of each example follows without a
backward pass of its own. No double backward and no vmap over the model is needed, so any attention
kernel works. A model whose layers do not treat the first axis as the example (weights applied to
shared tables, say) is recognised on first use, and its examples are then taken one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from fastif.examples import Batch, Examples, batches
from fastif.objective import Objective
from fastif.parameters import Params


@dataclass(frozen=True, eq=False)
class Tile:
    """The gradients of b examples, as rows. They stand in a workspace: use before the next tile.

    Attributes:
        rows: one gradient a row.
    """

    rows: Float[Tensor, "b p"]

    def __len__(self) -> int:
        return len(self.rows)

    def times(self, rows: Float[Tensor, "q p"]) -> Float[Tensor, "q b"]:
        """Inner product of every row with every gradient of the tile."""
        return rows @ self.rows.T

    def add_to(self, rows: Float[Tensor, "q p"], weights: Float[Tensor, "q b"]) -> None:
        """Rows += weights @ gradients, in place."""
        rows.addmm_(weights, self.rows)


@dataclass
class _Call:
    """One call of a layer that owns parameters: what went in, what came out."""

    name: str
    layer: nn.Module
    inputs: Tensor
    outputs: Tensor


class Gradients:
    """Tiles of per-example gradients of an objective.

    The first tile is checked against gradients taken one example at a time; where they disagree,
    all later tiles are taken that way. One workspace serves all tiles: to ask for fresh memory each
    time costs more than to fill it.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.one_by_one: bool | None = None
        self._workspace = objective.like.new_empty(0, objective.space.size)

    def of_losses(self, batch: Batch) -> Tile:
        """∇L of every example."""
        return next(self._tiles(batch, loss=True))

    def of_roots(self, batch: Batch) -> Iterator[Tile]:
        """∇(outputsᵀ s_j) for each column s_j of the loss's curvature root.

        The Gauss-Newton matrix of the batch is the sum of g gᵀ over all rows g of these tiles.
        """
        return self._tiles(batch, loss=False)

    def _tiles(self, batch: Batch, loss: bool) -> Iterator[Tile]:
        if self.one_by_one is None:
            self.one_by_one = not _listening_is_exact(self.objective, batch)
        take = _fill_one_by_one if self.one_by_one else _fill_by_listening
        rows = self._rows(len(batch["labels"]))
        for _ in take(self.objective, batch, loss, rows):
            yield Tile(rows)

    def _rows(self, count: int) -> Float[Tensor, "b p"]:
        if len(self._workspace) < count:
            self._workspace = self._workspace.new_empty(count, self.objective.space.size)
        return self._workspace[:count]


def gradient_rows(
    gradients: Gradients, examples: Examples, ids: Int[Tensor, " m"], batch_size: int
) -> Float[Tensor, "m p"]:
    """∇L of the given examples as rows, in the order of `ids`."""
    space = gradients.objective.space
    rows = gradients.objective.like.new_empty(len(ids), space.size)
    for places, batch in batches(examples, ids, batch_size):
        rows[places] = gradients.of_losses(batch).rows
    return rows


def _cotangents(
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


def _fill_by_listening(
    objective: Objective, batch: Batch, loss: bool, rows: Tensor
) -> Iterator[None]:
    """Fill `rows` once for the losses, or once for each column of the root."""
    params = {name: tensor.requires_grad_() for name, tensor in _leaves(objective).items()}
    with torch.enable_grad():
        outputs, calls = _listen(objective, params, batch)
    heard = [call.outputs for call in calls]
    for cotangent in _cotangents(objective, outputs, batch, loss):
        deltas = torch.autograd.grad(
            outputs, heard, cotangent, retain_graph=True, allow_unused=True
        )
        _collect(objective, calls, deltas, rows)
        yield


def _fill_one_by_one(
    objective: Objective, batch: Batch, loss: bool, rows: Tensor
) -> Iterator[None]:
    """The same by a backward pass an example and column."""
    params = {name: tensor.requires_grad_() for name, tensor in _leaves(objective).items()}
    leaves = tuple(params.values())
    graphs = []
    for index in range(len(rows)):
        single = {key: tensor[index : index + 1] for key, tensor in batch.items()}
        with torch.enable_grad():
            outputs = objective.outputs(params, single)
        graphs.append((outputs, list(_cotangents(objective, outputs, single, loss))))
    for column in range(len(graphs[0][1])):
        for row, (outputs, cotangents) in zip(rows, graphs, strict=True):
            found = torch.autograd.grad(
                outputs, leaves, cotangents[column], retain_graph=True, materialize_grads=True
            )
            torch.cat([tensor.flatten() for tensor in found], out=row)
        yield


def _leaves(objective: Objective) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in objective.params.items()}


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
            _fill_linear(call.inputs, delta, {own: blocks[name] for own, name in mine.items()})
        else:
            found = _layer_gradients(call.layer, call.inputs, delta)
            for own, name in mine.items():
                add = blocks[name].add_ if name in filled else blocks[name].copy_
                add(found[own].view(blocks[name].shape))
        filled.update(mine.values())
    for name, block in blocks.items():
        if name not in filled:
            block.zero_()


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _positions(inputs: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Input and output gradient of a linear layer with all positions on one axis: [b t d]."""
    return (
        inputs.reshape(len(inputs), -1, inputs.shape[-1]),
        delta.reshape(len(delta), -1, delta.shape[-1]),
    )


def _fill_linear(inputs: Tensor, delta: Tensor, blocks: dict[str, Tensor]) -> None:
    """∇W = Σ_t δ_t a_tᵀ and ∇bias = Σ_t δ_t over the positions t, straight into the workspace."""
    inputs, delta = _positions(inputs, delta)
    if "weight" in blocks:
        torch.bmm(delta.mT, inputs, out=blocks["weight"])
    if "bias" in blocks:
        torch.sum(delta, 1, out=blocks["bias"])


def _layer_gradients(layer: nn.Module, inputs: Tensor, delta: Tensor) -> dict[str, Tensor]:
    """The gradient of each example in the layer's own parameters, given its output gradient."""
    if isinstance(layer, nn.Linear):
        inputs, delta = _positions(inputs, delta)
        return {"weight": delta.mT @ inputs, "bias": delta.sum(1)}
    if isinstance(layer, nn.LayerNorm):
        normal = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
        axes = tuple(range(1, delta.dim() - len(layer.normalized_shape)))
        weight, bias = delta * normal, delta
        return {
            "weight": weight.sum(axes) if axes else weight,
            "bias": bias.sum(axes) if axes else bias,
        }
    return _any_layer_gradients(layer, inputs, delta)


def _any_layer_gradients(layer: nn.Module, inputs: Tensor, delta: Tensor) -> dict[str, Tensor]:
    """The layer's own vector-Jacobian product, mapped over examples."""
    own = {name: tensor.detach() for name, tensor in layer.named_parameters()}

    def pull(one: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
        pullback = vjp(lambda p: functional_call(layer, p, (one[None],))[0], own)[1]
        return pullback(cotangent)[0]

    return vmap(pull)(inputs, delta)


def _listening_is_exact(objective: Objective, batch: Batch) -> bool:
    """Whether listening gives on two examples what two separate backward passes give."""
    few = {key: tensor[:2] for key, tensor in batch.items()}
    expected = objective.like.new_empty(len(few["labels"]), objective.space.size)
    heard = torch.full_like(expected, torch.nan)  # what is left unfilled must not pass
    for _ in _fill_one_by_one(objective, few, True, expected):
        pass
    try:
        if _is_used_outside(objective, few):
            return False
        for _ in _fill_by_listening(objective, few, True, heard):
            pass
    except (RuntimeError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False  # a layer with several inputs or outputs, in-place changes, no vmap rule ...
    # A hundred units in the last place of the largest entry of all, not of each parameter's own:
    # the gradient of an attention key's bias is zero but for rounding.
    noise = 100 * torch.finfo(expected.dtype).eps * float(expected.abs().max())
    return torch.allclose(heard, expected, rtol=1e-3, atol=noise)


def _is_used_outside(objective: Objective, batch: Batch) -> bool:
    """Whether a parameter reaches the outputs other than through a call of its own layer.

    Seen from the graph and not from numbers: two examples can happen to have no gradient there.
    """
    params = {name: tensor.requires_grad_() for name, tensor in _leaves(objective).items()}
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
