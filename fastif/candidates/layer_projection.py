"""Narrowing: gradients of linear layers along the few directions in which they lie."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.gradients.hooks import Call, Heard, owner_of
from fastif.gradients.layer_rules import is_linear, layer_gradients, positions
from fastif.models.parameters import ParamSpace

ENERGY = 0.98
"""Share of a layer's squared gradients that its directions keep."""

ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Sides:
    """Directions of a linear layer: of the gradients δ at its output, and of its inputs a.

    Attributes:
        outputs, inputs: orthonormal columns.
    """

    outputs: Float[Tensor, "o k"]
    inputs: Float[Tensor, "i l"]

    def to(self, like: Tensor) -> "Sides":
        """The same in the type and on the device of `like`."""
        return Sides(self.outputs.to(like).contiguous(), self.inputs.to(like).contiguous())


@dataclass(frozen=True, eq=False)
class Narrowing:
    """P: the gradient Σ_t δ_t a_tᵀ of a linear layer becomes Σ_t (Pₒᵀ δ_t)(Pᵢᵀ a_t)ᵀ.

    That is Pₒᵀ G Pᵢ of the gradient G, whose o·i numbers are never made. A bias is narrowed by Pₒ;
    parameters of other layers are taken as they are. The directions are leading eigenvectors of
    Σ δδᵀ and of Σ ‖δ‖² aaᵀ. In every layer of a trained classifier one of the two is nearly of low
    rank, so that a few hundredths of the numbers keep 0.98 of the squared length.

    Attributes:
        space: the parameters.
        sides: of each linear layer, by the layer's name.
    """

    space: ParamSpace
    sides: Mapping[str, Sides]

    @classmethod
    def of(
        cls, space: ParamSpace, heard: Iterable[Heard], like: Tensor, energy: float = ENERGY
    ) -> "Narrowing":
        """The directions that keep `energy` of the gradients heard in some passes.

        Args:
            space: the parameters.
            heard: calls of the layers with the gradients at their outputs, pass by pass.
            like: of the type and device of the parameters.
            energy: share of the squared length to keep, of a layer.
        """
        sums: dict[str, list[Tensor]] = {}
        for calls in heard:
            for call, delta in calls:
                if is_linear(call.layer):
                    _add(sums, call, delta)
        found = {name: _sides(pair[0], pair[1], energy) for name, pair in sums.items()}
        return cls(space, {name: sides.to(like) for name, sides in found.items()})

    @property
    def size(self) -> int:
        """Numbers of a narrowed gradient."""
        return sum(width for _, width in self._places)

    def __call__(self, heard: Heard, count: int, like: Tensor) -> Float[Tensor, "b m"]:
        """The narrowed gradients of `count` examples, from what the layers were heard to do."""
        rows = like.new_zeros(count, self.size)
        for call, delta in heard:
            if len(delta) != len(rows):
                raise ValueError(f"{call.name}: its first axis is not the example")
            for name, part in self._parts(call, delta).items():
                start, width = self._where[f"{call.name}.{name}".lstrip(".")]
                rows[:, start : start + width] += part.flatten(1)
        return rows

    def of_rows(self, rows: Float[Tensor, "b p"]) -> Float[Tensor, "b m"]:
        """The same of gradients that stand as rows."""
        found = rows.new_empty(len(rows), self.size)
        space = self.space
        for name, at, shape in zip(space.names, space.slices, space.shapes, strict=True):
            part, sides = rows[:, at], self.sides.get(owner_of(name))
            if sides is not None and len(shape) == 2:
                part = sides.outputs.mT @ part.unflatten(1, shape) @ sides.inputs
            elif sides is not None:
                part = part @ sides.outputs
            start, width = self._where[name]
            found[:, start : start + width] = part.flatten(1)
        return found

    def _parts(self, call: Call, delta: Tensor) -> dict[str, Tensor]:
        sides = self.sides.get(call.name)
        if sides is None:
            return self._owned(call, layer_gradients(call.layer, call.inputs, delta, call.outputs))
        inputs, delta = positions(call.inputs, delta)
        delta = delta @ sides.outputs
        parts = {"bias": delta.sum(1)}
        if f"{call.name}.weight".lstrip(".") in self._where:
            parts["weight"] = delta.mT @ (inputs @ sides.inputs)
        return self._owned(call, parts)

    def _owned(self, call: Call, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        names = (f"{call.name}.{name}".lstrip(".") for name in parts)
        owned = zip(names, parts.items(), strict=True)
        return {name: part for full, (name, part) in owned if full in self._where}

    @cached_property
    def _places(self) -> list[tuple[str, int]]:
        """Each parameter and how many numbers are left of it, in their order."""
        found = []
        for name, shape in zip(self.space.names, self.space.shapes, strict=True):
            width, sides = torch.Size(shape).numel(), self.sides.get(owner_of(name))
            if sides is not None:
                width = sides.outputs.shape[1]
                width *= sides.inputs.shape[1] if len(shape) == 2 else 1
            found.append((name, width))
        return found

    @cached_property
    def _where(self) -> dict[str, tuple[int, int]]:
        found, start = {}, 0
        for name, width in self._places:
            found[name] = (start, width)
            start += width
        return found

    def state(self) -> dict[str, Tensor]:
        """As tensors, ready for safetensors."""
        return {
            f"{name}:{side}": getattr(sides, side)
            for name, sides in self.sides.items()
            for side in ("outputs", "inputs")
        }

    @classmethod
    def of_state(cls, space: ParamSpace, state: Mapping[str, Tensor], like: Tensor) -> "Narrowing":
        """What `state` gave, on the device of `like`."""
        names = dict.fromkeys(key.rpartition(":")[0] for key in state)
        sides = {
            name: Sides(state[f"{name}:outputs"], state[f"{name}:inputs"]).to(like)
            for name in names
        }
        return cls(space, sides)


def _add(sums: dict[str, list[Tensor]], call: Call, delta: Tensor) -> None:
    """Σ δδᵀ and Σ ‖δ‖² aaᵀ over all positions; an example that is not finite counts as nothing."""
    inputs, delta = positions(call.inputs, delta)
    sound = torch.isfinite(delta.flatten(1).sum(1) + inputs.flatten(1).sum(1))
    inputs, delta = inputs[sound].flatten(0, 1), delta[sound].flatten(0, 1)
    weighed = inputs * delta.norm(dim=1, keepdim=True)
    found = [(delta.T @ delta).double(), (weighed.T @ weighed).double()]
    before = sums.get(call.name)
    sums[call.name] = (
        found if before is None else [a + b for a, b in zip(before, found, strict=True)]
    )


def _sides(outputs: Tensor, inputs: Tensor, energy: float) -> Sides:
    """The pair of sides that keeps this much with the fewest numbers."""
    (kept_o, axes_o), (kept_i, axes_i) = _leading(outputs), _leading(inputs)
    # For each number of rows the columns that are then needed; one more than there are: too few.
    wanted = min(energy, 1 - ROUNDING)
    columns = torch.searchsorted(kept_i, wanted / kept_o.clamp_min(1e-300)) + 1
    numbers = torch.arange(1, len(kept_o) + 1, device=columns.device) * columns
    numbers[columns > len(kept_i)] = numbers.max() + 1
    rows = int(numbers.argmin()) + 1
    return Sides(axes_o[:, :rows], axes_i[:, : int(columns[rows - 1])])


def _leading(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the trace within the first directions, and the directions, the largest first."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.flip(0).clamp_min(0)
    total = values.sum()
    share = values.cumsum(0) / total if total > 0 else torch.ones_like(values)
    return share, vectors.flip(1)
