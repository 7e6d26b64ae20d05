"""Low-rank projection of linear-layer gradients onto leading directions of both sides."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.gradients.hooks import LayerCall, LayerGrads, get_owner_name
from fastif.gradients.layer_factors import flatten_positions, has_transposed_weight, is_linear
from fastif.gradients.layer_rules import compute_layer_gradients
from fastif.models.parameters import ParamSpace

ENERGY = 0.98
"""Explained variance ratio: share of a layer's squared gradient norm that the projection keeps."""

ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class ProjectionBases:
    """Bases of a linear layer's projection, for output gradients δ and for inputs a.

    Attributes:
        outputs: Orthonormal columns [o k] for output gradients.
        inputs: Orthonormal columns [i l] for inputs.
        transposed: Whether the weight is [i o] of inputs x outputs.
    """

    outputs: Float[Tensor, "o k"]
    inputs: Float[Tensor, "i l"]
    transposed: bool = False

    def to(self, like: Tensor) -> "ProjectionBases":
        """Convert the bases to the type and device of `like`."""
        outputs, inputs = self.outputs.to(like).contiguous(), self.inputs.to(like).contiguous()
        return ProjectionBases(outputs, inputs, self.transposed)


@dataclass(frozen=True, eq=False)
class LayerProjection:
    """Two-sided low-rank projection Pₒᵀ G Pᵢ of the gradients G of linear layers.

    It is computed as Σ_t (Pₒᵀ δ_t)(Pᵢᵀ a_t)ᵀ, without forming G = Σ_t δ_t a_tᵀ. A bias is projected
    by Pₒ; parameters of other layers are kept in full. Pₒ and Pᵢ hold the leading eigenvectors of Σ
    δδᵀ and Σ ‖δ‖² aaᵀ. In every layer of a trained classifier one of the two is nearly of low rank,
    so a few hundredths of the numbers keep 0.98 of the squared norm.

    Attributes:
        space: Names and shapes of the attributed parameters.
        bases: Bases of each linear layer, by the name of the layer.
    """

    space: ParamSpace
    bases: Mapping[str, ProjectionBases]

    @classmethod
    def fit(
        cls, space: ParamSpace, passes: Iterable[LayerGrads], like: Tensor, energy: float = ENERGY
    ) -> "LayerProjection":
        """Fit the bases that keep a share `energy` of the gradients' squared norm.

        Args:
            space: Names and shapes of the attributed parameters.
            passes: Layer calls with their output gradients, one sequence for each pass.
            like: Tensor with the type and device of the parameters.
            energy: Share of each layer's squared gradient norm to keep.
        """
        sums: dict[str, list[Tensor]] = {}
        transposed: set[str] = set()
        for calls in passes:
            for call, delta in calls:
                if is_linear(call.layer):
                    _add_covariances(sums, call, delta)
                if has_transposed_weight(call.layer):
                    transposed.add(call.name)
        bases_by_layer = {
            name: replace(_fit_bases(pair[0], pair[1], energy), transposed=name in transposed)
            for name, pair in sums.items()
        }
        return cls(space, {name: bases.to(like) for name, bases in bases_by_layer.items()})

    @property
    def size(self) -> int:
        """Length of a projected gradient."""
        return sum(width for _, width in self._widths)

    def __call__(self, calls: LayerGrads, count: int, like: Tensor) -> Float[Tensor, "b m"]:
        """Project the gradients of `count` examples, from layer inputs and output gradients."""
        vectors = like.new_zeros(count, self.size)
        for call, delta in calls:
            if len(delta) != len(vectors):
                raise ValueError(f"{call.name}: the first axis of its output is not the example")
            for name, projected in self._project_call(call, delta).items():
                start, width = self._offsets[f"{call.name}.{name}".lstrip(".")]
                vectors[:, start : start + width] += projected.flatten(1)
        return vectors

    def project_vectors(self, vectors: Float[Tensor, "b p"]) -> Float[Tensor, "b m"]:
        """Project gradients given as flat vectors [b p]."""
        projected = vectors.new_empty(len(vectors), self.size)
        space = self.space
        for name, span, shape in zip(space.names, space.slices, space.shapes, strict=True):
            values, bases = vectors[:, span], self.bases.get(get_owner_name(name))
            if bases is not None and len(shape) == 2:
                weights = values.unflatten(1, shape)
                weights = weights.mT if bases.transposed else weights
                values = bases.outputs.mT @ weights @ bases.inputs
            elif bases is not None:
                values = values @ bases.outputs
            start, width = self._offsets[name]
            projected[:, start : start + width] = values.flatten(1)
        return projected

    def _project_call(self, call: LayerCall, delta: Tensor) -> dict[str, Tensor]:
        bases = self.bases.get(call.name)
        if bases is None:
            return self._select_owned(
                call,
                compute_layer_gradients(call.layer, call.inputs, delta, call.outputs, call.params),
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
        """Names of the parameters with the number of coordinates after projection, in order."""
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
        """Tensors by name, ready for safetensors."""
        state = {
            f"{name}:{side}": getattr(bases, side)
            for name, bases in self.bases.items()
            for side in ("outputs", "inputs")
        }
        transposed = [name for name, bases in self.bases.items() if bases.transposed]
        return {**state, **{f"{name}:transposed": torch.ones(1) for name in transposed}}

    @classmethod
    def from_state_dict(
        cls, space: ParamSpace, state: Mapping[str, Tensor], like: Tensor
    ) -> "LayerProjection":
        """Restore a projection from `state_dict`, on the device of `like`."""
        names = dict.fromkeys(key.rpartition(":")[0] for key in state)
        bases = {
            name: ProjectionBases(
                state[f"{name}:outputs"], state[f"{name}:inputs"], f"{name}:transposed" in state
            ).to(like)
            for name in names
        }
        return cls(space, bases)


def _add_covariances(sums: dict[str, list[Tensor]], call: LayerCall, delta: Tensor) -> None:
    """Add Σ δδᵀ and Σ ‖δ‖² aaᵀ over all positions; examples that are not finite are skipped."""
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
    """Choose the pair of ranks that keeps the share `energy` with the fewest numbers."""
    (kept_o, axes_o), (kept_i, axes_i) = (
        _leading_eigenvectors(outputs),
        _leading_eigenvectors(inputs),
    )
    # For each rank of the outputs, the rank of the inputs that is then needed; a rank above the
    # width of the inputs is not feasible.
    target = min(energy, 1 - ROUNDING)
    columns = torch.searchsorted(kept_i, target / kept_o.clamp_min(1e-300)) + 1
    numbers = torch.arange(1, len(kept_o) + 1, device=columns.device) * columns
    numbers[columns > len(kept_i)] = numbers.max() + 1
    rows = int(numbers.argmin()) + 1
    return ProjectionBases(axes_o[:, :rows], axes_i[:, : int(columns[rows - 1])])


def _leading_eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Cumulative share of the trace, and eigenvectors, by descending eigenvalue."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.flip(0).clamp_min(0)
    total = values.sum()
    share = values.cumsum(0) / total if total > 0 else torch.ones_like(values)
    return share, vectors.flip(1)
