"""EK-FAC in plain float64, one example at a time (George et al., 2018; Grosse et al., 2023).

For a linear layer, with inputs a (1 appended for its bias) and the gradients δ at its outputs of
the columns of the loss's curvature root, Q_A and Q_G are the eigenvectors of Σ a aᵀ and Σ δ δᵀ over
the positions that reach the model's outputs, and Λ is the mean of (Q_Gᵀ g Q_A)² over examples.
Other parameters of one module make a dense block if they are few, else a diagonal.
"""

from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tests.fuzz.losses import RowLoss
from tests.fuzz.tables import Rows
from tests.fuzz.truth import Member

MOST_DENSE = 1024


@dataclass(eq=False)
class Layer:
    """Sums of a linear layer whose weight has `width` inputs; 0 if the bias alone is attributed."""

    width: int
    inputs: Tensor
    outputs: Tensor
    calls: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def matrices(self, rows: Tensor) -> Tensor:
        """Rows as [weight | bias], [m o i]."""
        split = len(self.outputs) * self.width
        parts = rows[:, :split], rows[:, split:]
        return torch.cat(
            [part.unflatten(1, (len(self.outputs), -1)) for part in parts if part.numel()], 2
        )

    def rows(self, matrices: Tensor) -> Tensor:
        """The same back again."""
        parts = matrices[:, :, : self.width], matrices[:, :, self.width :]
        return torch.cat([part.flatten(1) for part in parts], 1)


def solutions(
    member: Member, rows: Rows, loss: RowLoss, left: Tensor, damping: float, dense: bool = False
) -> Tensor:
    """(EK-FAC + λI)⁻¹ of every row of `left`.

    Args:
        member: the model.
        rows: of the curvature.
        loss: as trained.
        left: right-hand sides.
        damping: λ.
        dense: linear layers get a dense block too, as where rows of a batch pass one by one.
    """
    linear = {} if dense else _linear(member, rows)
    roots = _roots(member, rows, loss)
    count = len(rows)
    solved = torch.empty_like(left)
    places = _places(member)
    layers = {name: _factors(member, name, module, rows, loss) for name, module in linear.items()}
    for name, own in _group_by_module(member).items():
        where = torch.cat([places[parameter] for parameter in own])
        if name in linear:
            solved[:, where] = _kronecker(layers[name], roots[:, :, where], left[:, where], damping)
        elif len(where) <= MOST_DENSE:
            block = torch.einsum("nrp,nrs->ps", roots[:, :, where], roots[:, :, where]) / count
            eye = torch.eye(len(where), dtype=block.dtype)
            solved[:, where] = torch.linalg.solve(block + damping * eye, left[:, where].T).T
        else:
            diagonal = roots[:, :, where].square().sum((0, 1)) / count
            solved[:, where] = left[:, where] / (diagonal + damping)
    return solved


def _group_by_module(member: Member) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in member.names:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    return groups


def _places(member: Member) -> dict[str, Tensor]:
    positions, start = {}, 0
    for name, tensor in zip(member.names, member.parameters, strict=True):
        positions[name] = torch.arange(start, start + tensor.numel())
        start += tensor.numel()
    return positions


def _linear(member: Member, rows: Rows) -> dict[str, nn.Linear]:
    """The linear layers all of whose calls have the example as their first axis."""
    given, _ = member.inputs(rows[0])
    twice = {name: torch.cat([tensor, tensor]) for name, tensor in given.items()}
    odd: set[str] = set()
    modules = {name: member.model.get_submodule(name) for name in _group_by_module(member)}
    handles = [
        module.register_forward_hook(
            lambda _, args, __, name=name: odd.add(name) if len(args[0]) != 2 else None
        )
        for name, module in modules.items()
        if isinstance(module, nn.Linear)
    ]
    with torch.no_grad(), suppress(ValueError):  # without a padding token some take no batch
        member.model(**twice)
    for handle in handles:
        handle.remove()
    return {
        name: module
        for name, module in modules.items()
        if isinstance(module, nn.Linear) and name not in odd
    }


def _root(loss: RowLoss, outputs: Tensor, target: Tensor) -> Tensor:
    """S with S Sᵀ = d²L/dz², by eigenvalues."""
    values, vectors = torch.linalg.eigh(loss.bend(outputs, target))
    return vectors * values.clamp_min(0).sqrt()


def _roots(member: Member, rows: Rows, loss: RowLoss) -> Tensor:
    """SᵀJ of every example, [n r p]."""
    read = member.read(rows)
    return torch.stack(
        [
            _root(loss, z, y).T @ jacobian
            for z, y, jacobian in zip(read.outputs, read.targets, read.jacobian, strict=True)
        ]
    )


def _factors(member: Member, name: str, module: nn.Linear, rows: Rows, loss: RowLoss) -> Layer:
    """Σ a aᵀ and Σ δ δᵀ of one layer."""
    attributed = set(_group_by_module(member)[name])
    width = module.in_features if f"{name}.weight" in attributed else 0
    bias = f"{name}.bias" in attributed
    kind = torch.float64
    layer = Layer(
        width,
        torch.zeros(width + bias, width + bias, dtype=kind),
        torch.zeros(module.out_features, module.out_features, dtype=kind),
    )
    handle = module.register_forward_hook(lambda _, args, out: layer.calls.append((args[0], out)))
    for row in rows:
        layer.calls.clear()
        outputs = member.outputs(member.inputs(row)[0])
        target = member.target(row)
        calls = [(a.detach(), out) for a, out in layer.calls if out.requires_grad]
        columns = [
            torch.autograd.grad(
                outputs, [o for _, o in calls], column, retain_graph=True, allow_unused=True
            )
            for column in _root(loss, outputs.detach(), target).T
        ]
        for (a, _), deltas in zip(calls, zip(*columns, strict=True), strict=True):
            if deltas[0] is None:
                continue
            each = torch.stack([d.reshape(-1, d.shape[-1]) for d in deltas])
            layer.outputs += torch.einsum("rto,rtp->op", each, each)
            flat = a.reshape(-1, a.shape[-1])[(each != 0).any(-1).any(0)][:, :width]
            if bias:
                flat = torch.cat([flat, flat.new_ones(len(flat), 1)], 1)
            layer.inputs += flat.T @ flat
    handle.remove()
    return layer


def _kronecker(layer: Layer, roots: Tensor, left: Tensor, damping: float) -> Tensor:
    """Rows of `left` times the inverse of the layer's block."""
    over_inputs = torch.linalg.eigh(layer.inputs)[1]
    over_outputs = torch.linalg.eigh(layer.outputs)[1]

    def rotate(rows: Tensor) -> Tensor:
        return over_outputs.T @ layer.matrices(rows) @ over_inputs

    scale = rotate(roots.flatten(0, 1)).square().sum(0) / len(roots)
    return layer.rows(over_outputs @ (rotate(left) / (scale + damping)) @ over_inputs.T)
