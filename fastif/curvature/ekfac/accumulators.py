"""Running sums of the two passes of an EK-FAC fit, which can be added over shards of the data."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fastif.curvature.ekfac.fit_spec import EkfacSpec
from fastif.errors import InputError

HEADER = "scheme"


@dataclass(frozen=True, eq=False)
class EkfacSums:
    """Named sums over training examples, in double precision; sums of shards can be added.

    Attributes:
        spec: Parameter groups and sampling settings of the fit.
        tensors: Number of examples as "count", and the sums of block i with the prefix "i.".
    """

    spec: EkfacSpec
    tensors: dict[str, Tensor]

    def __add__(self, other: "EkfacSums") -> "EkfacSums":
        """Add the sums of another shard of the training set.

        Raises:
            InputError: If the two sums differ in parameters, random signs or pass.
        """
        if self.spec != other.spec or self.tensors.keys() != other.tensors.keys():
            raise InputError(
                "EK-FAC sums",
                "sums of one pass over shards of one training set",
                "sums of other parameters, another seed, or the other pass",
                "Fit all shards with the same model, labels and seed.",
            )
        total = {name: tensor + other.tensors[name] for name, tensor in self.tensors.items()}
        return EkfacSums(self.spec, total)

    def select_block(self, index: int) -> dict[str, Tensor]:
        """Return the sums of one block, by name without prefix."""
        prefix = f"{index}."
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return all sums as plain tensors, for a safetensors file."""
        return {HEADER: self.spec.to_header(), **self.tensors}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "EkfacSums":
        """Restore the sums from the tensors of `state_dict`."""
        tensors = {name: tensor for name, tensor in state.items() if name != HEADER}
        return cls(EkfacSpec.from_header(state[HEADER]), tensors)


def zero_sum(*shape: int, like: Tensor) -> Tensor:
    """Return a double-precision tensor of zeros on the device of `like`."""
    return torch.zeros(shape, dtype=torch.float64, device=like.device)
