"""Sums over training examples: what a pass over a piece of the training set leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fastif.curvature.ekfac.fit_spec import EkfacSpec
from fastif.errors import InputError

HEADER = "scheme"


@dataclass(frozen=True, eq=False)
class EkfacSums:
    """Named sums in double precision that add up over pieces, in any order.

    Attributes:
        spec: what was summed.
        tensors: "count" examples, and for block number i what stands under "i.".
    """

    spec: EkfacSpec
    tensors: dict[str, Tensor]

    def __add__(self, other: "EkfacSums") -> "EkfacSums":
        """The sums over both pieces.

        Raises:
            InputError: they belong to other parameters, signs or passes.
        """
        if self.spec != other.spec or self.tensors.keys() != other.tensors.keys():
            raise InputError(
                "EK-FAC sums",
                "pieces of one pass over one training set",
                "sums of other parameters, another seed, or the other pass",
                "Fit all pieces with the same model, labels and seed.",
            )
        total = {name: tensor + other.tensors[name] for name, tensor in self.tensors.items()}
        return EkfacSums(self.spec, total)

    def select_block(self, index: int) -> dict[str, Tensor]:
        """The sums of one block."""
        prefix = f"{index}."
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Plain tensors, ready for safetensors."""
        return {HEADER: self.spec.to_header(), **self.tensors}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "EkfacSums":
        """The sums that were written."""
        tensors = {name: tensor for name, tensor in state.items() if name != HEADER}
        return cls(EkfacSpec.from_header(state[HEADER]), tensors)


def zero_sum(*shape: int, like: Tensor) -> Tensor:
    """A sum to begin with."""
    return torch.zeros(shape, dtype=torch.float64, device=like.device)
