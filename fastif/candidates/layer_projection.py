"""Narrowing: gradients of linear layers along the few directions in which they lie."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.gradients.hooks import LayerCall, LayerGrads, get_owner_name
from fastif.gradients.layer_rules import compute_layer_gradients, flatten_positions, is_linear
from fastif.models.parameters import ParamSpace

ENERGY = 0.98
"""Share of a layer's squared gradients that its directions keep."""

ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class ProjectionBases:
    """Directions of a linear layer: of the gradients δ at its output, and of its inputs a.

    Attributes:
        outputs, inputs: orthonormal columns.
    """

    outputs: Float[Tensor, "o k"]
    inputs: Float[Tensor, "i l"]

    def to(self, like: Tensor) -> "ProjectionBases":
        """The same in the type and on the device of `like`."""
        return ProjectionBases(
            self.outputs.to(like).contiguous(), self.inputs.to(like).contiguous()
        )


@dataclass(frozen=True, eq=False)
class LayerProjection:
    """P: the gradient Σ_t δ_t a_tᵀ of a linear layer becomes Σ_t (Pₒᵀ δ_t)(Pᵢᵀ a_t)ᵀ.

    That is Pₒᵀ G Pᵢ of the gradient G, whose o·i numbers are never made. A bias is narrowed by Pₒ;
    parameters of other layers are taken as they are. The directions are leading eigenvectors of
    Σ δδᵀ and of Σ ‖δ‖² aaᵀ. In every layer of a trained classifier one of the two is nearly of low
    rank, so that a few hundredths of the numbers keep 0.98 of the squared length.

    Attributes:
        space: the parameters.
        bases: of each linear layer, by the layer's name.
    """

    space: ParamSpace
    bases: Mapping[str, ProjectionBases]

    @classmethod
    def fit(
        cls, space: ParamSpace, passes: Iterable[LayerGrads], like: Tensor, energy: float = ENERGY
    ) -> "LayerProjection":
        """The directions that keep `energy` of the gradients heard in some passes.

        Args:
            space: the parameters.
            passes: calls of the layers with the gradients at their outputs, pass by pass.
            like: of the type and device of the parameters.
            energy: share of the squared length to keep, of a layer.
        """
        sums: dict[str, list[Tensor]] = {}
        for calls in passes:
            for call, delta in calls:
                if is_linear(call.layer):
                    _add_covariances(sums, call, delta)
        bases_by_layer = {name: _fit_bases(pair[0], pair[1], energy) for name, pair in sums.items()}
        return cls(space, {name: bases.to(like) for name, bases in bases_by_layer.items()})

    @property
    def size(self) -> int:
        """Numbers of a narrowed gradient."""
        return sum(width for _, width in self._widths)

    def __call__(self, calls: LayerGrads, count: int, like: Tensor) -> Float[Tensor, "b m"]:
        """The narrowed gradients of `count` examples, from what the layers were heard to do."""
        vectors = like.new_zeros(count, self.size)
        for call, delta in calls:
            if len(delta) != len(vectors):
                raise ValueError(f"{call.name}: its first axis is not the example")
            for name, projected in self._project_call(call, delta).items():
                start, width = self._offsets[f"{call.name}.{name}".lstrip(".")]
                vectors[:, start : start + width] += projected.flatten(1)
        return vectors

    def project_vectors(self, vectors: Float[Tensor, "b p"]) -> Float[Tensor, "b m"]:
        """The same of gradients that stand as rows."""
        projected = vectors.new_empty(len(vectors), self.size)
        space = self.space
        for name, span, shape in zip(space.names, space.slices, space.shapes, strict=True):
            values, bases = vectors[:, span], self.bases.get(get_owner_name(name))
            if bases is not None and len(shape) == 2:
                values = bases.outputs.mT @ values.unflatten(1, shape) @ bases.inputs
            elif bases is not None:
                values = values @ bases.outputs
            start, width = self._offsets[name]
            projected[:, start : start + width] = values.flatten(1)
        return projected

    def _project_call(self, call: LayerCall, delta: Tensor) -> dict[str, Tensor]:
        bases = self.bases.get(call.name)
        if bases is None:
            return self._select_owned(
                call, compute_layer_gradients(call.layer, call.inputs, delta, call.outputs)
            )
        inputs, delta = flatten_positions(call.inputs, delta)
        delta = delta @ bases.outputs
        projected = {"bias": delta.sum(1)}
        if f"{call.name}.weight".lstrip(".") in self._offsets:
            projected["weight"] = delta.mT @ (inputs @ bases.inputs)
        return self._select_owned(call, projected)

    def _select_owned(self, call: LayerCall, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        names = (f"{call.name}.{name}".lstrip(".") for name in gradients)
        owned = zip(names, gradients.items(), strict=True)
        return {name: gradient for full, (name, gradient) in owned if full in self._offsets}

    @cached_property
    def _widths(self) -> list[tuple[str, int]]:
        """Each parameter and how many numbers are left of it, in their order."""
        widths = []
        for name, shape in zip(self.space.names, self.space.shapes, strict=True):
            width, bases = torch.Size(shape).numel(), self.bases.get(get_owner_name(name))
            if bases is not None:
                width = bases.outputs.shape[1]
                width *= bases.inputs.shape[1] if len(shape) == 2 else 1
            widths.append((name, width))
        return widths

    @cached_property
    def _offsets(self) -> dict[str, tuple[int, int]]:
        offsets, start = {}, 0
        for name, width in self._widths:
            offsets[name] = (start, width)
            start += width
        return offsets

    def state_dict(self) -> dict[str, Tensor]:
        """As tensors, ready for safetensors."""
        return {
            f"{name}:{side}": getattr(bases, side)
            for name, bases in self.bases.items()
            for side in ("outputs", "inputs")
        }

    @classmethod
    def from_state_dict(
        cls, space: ParamSpace, state: Mapping[str, Tensor], like: Tensor
    ) -> "LayerProjection":
        """What `state_dict` gave, on the device of `like`."""
        names = dict.fromkeys(key.rpartition(":")[0] for key in state)
        bases = {
            name: ProjectionBases(state[f"{name}:outputs"], state[f"{name}:inputs"]).to(like)
            for name in names
        }
        return cls(space, bases)


def _add_covariances(sums: dict[str, list[Tensor]], call: LayerCall, delta: Tensor) -> None:
    """Σ δδᵀ and Σ ‖δ‖² aaᵀ over all positions; an example that is not finite counts as nothing."""
    inputs, delta = flatten_positions(call.inputs, delta)
    finite = torch.isfinite(delta.flatten(1).sum(1) + inputs.flatten(1).sum(1))
    inputs, delta = inputs[finite].flatten(0, 1), delta[finite].flatten(0, 1)
    weighted = inputs * delta.norm(dim=1, keepdim=True)
    covariances = [(delta.T @ delta).double(), (weighted.T @ weighted).double()]
    previous = sums.get(call.name)
    sums[call.name] = (
        covariances
        if previous is None
        else [a + b for a, b in zip(previous, covariances, strict=True)]
    )


def _fit_bases(outputs: Tensor, inputs: Tensor, energy: float) -> ProjectionBases:
    """The pair of sides that keeps this much with the fewest numbers."""
    (kept_o, axes_o), (kept_i, axes_i) = (
        _leading_eigenvectors(outputs),
        _leading_eigenvectors(inputs),
    )
    # For each number of rows the columns that are then needed; one more than there are: too few.
    target = min(energy, 1 - ROUNDING)
    columns = torch.searchsorted(kept_i, target / kept_o.clamp_min(1e-300)) + 1
    numbers = torch.arange(1, len(kept_o) + 1, device=columns.device) * columns
    numbers[columns > len(kept_i)] = numbers.max() + 1
    rows = int(numbers.argmin()) + 1
    return ProjectionBases(axes_o[:, :rows], axes_i[:, : int(columns[rows - 1])])


def _leading_eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the trace within the first directions, and the directions, the largest first."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.flip(0).clamp_min(0)
    total = values.sum()
    share = values.cumsum(0) / total if total > 0 else torch.ones_like(values)
    return share, vectors.flip(1)
