"""Settings of an EK-FAC fit: parameter groups, and exact or sampled columns of the loss's root."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from fastif.curvature.ekfac.parameter_groups import ParameterGroup, group_parameters
from fastif.curvature.ekfac.rademacher import rademacher_signs
from fastif.curvature.ggn import GaussNewton
from fastif.data.examples import (
    COLUMN_WEIGHTS,
    Batch,
    Examples,
    all_ids,
)
from fastif.errors import InputError
from fastif.models.objective import Objective
from fastif.models.parameter_subset import ParameterSubset
from fastif.models.parameters import ParamSpace

MAX_EXACT_COLUMNS = 10
"""Columns of the loss's square root S_i above which "auto" samples: each is one more pass."""

Labels = Literal["auto", "exact", "sampled"]


@dataclass(frozen=True)
class EkfacSpec:
    """Settings that all shards of an EK-FAC fit share; sums with other settings are not added.

    Attributes:
        space: Attributed parameters and their coordinates in a vector.
        groups: Parameters of each block; every parameter is in exactly one group.
        sampled: Whether random signs mix the columns of S_i into one.
        seed: Random seed of the signs.
        ridge: L2 weight decay of training, which is in no block.
    """

    space: ParamSpace
    groups: tuple[ParameterGroup, ...]
    sampled: bool
    seed: int
    ridge: float

    @classmethod
    def from_curvature(cls, curvature: GaussNewton, labels: Labels, seed: int) -> "EkfacSpec":
        """Return the settings for a curvature, equal for every shard of one training set.

        Args:
            curvature: Gauss-Newton matrix to approximate.
            labels: Expectation over labels: "auto", "exact" or "sampled", see `Ekfac.fit`.
            seed: Random seed of the signs.

        Raises:
            InputError: If no example has a finite loss, or `labels` is not one of the three.
        """
        if labels not in get_args(Labels):
            raise InputError(
                "EK-FAC labels", " or ".join(get_args(Labels)), f"{labels}", 'Use "auto".'
            )
        objective, examples = curvature.objective, curvature.examples
        finite_ids = _find_finite_examples(objective, examples)
        if not curvature.count or not len(finite_ids):
            raise InputError(
                "EK-FAC",
                "at least one training example of finite loss",
                "none",
                "Check the losses of the training rows: NaN and infinity cannot be fitted.",
            )
        groups = group_parameters(objective, objective.compute_prefix(examples.take(finite_ids)))
        sampled = labels == "sampled" or (
            labels == "auto" and curvature.rows_per_example > MAX_EXACT_COLUMNS
        )
        return cls(objective.space, groups, sampled, seed, curvature.ridge)

    def make_subset(self, curvature: GaussNewton, linear: bool) -> ParameterSubset:
        """Return the objective of the Kronecker blocks (`linear`), or of all other blocks."""
        chosen = [group for group in self.groups if group.is_kronecker is linear]
        return ParameterSubset(
            curvature.objective, [name for group in chosen for name in group.names]
        )

    def iterate_batches(self, curvature: GaussNewton) -> Iterator[Batch]:
        """Iterate over the training set with frozen layers computed, and signs if sampled."""
        ids = all_ids(curvature.examples) if curvature.ids is None else curvature.ids
        columns = curvature.rows_per_example
        for positions, batch in curvature.examples.batches(ids):
            prefix_batch = curvature.objective.compute_prefix(batch)
            if self.sampled:
                random_signs = rademacher_signs(self.seed, ids[positions], columns).to(
                    curvature.like.device
                )
                prefix_batch = {**prefix_batch, COLUMN_WEIGHTS: random_signs}
            yield prefix_batch

    def to_header(self) -> UInt8[Tensor, " bytes"]:
        """Return the settings as a tensor of JSON bytes, to be stored with other tensors."""
        content = {
            "names": self.space.names,
            "shapes": self.space.shapes,
            "groups": [[group.kind, group.names] for group in self.groups],
            "sampled": self.sampled,
            "seed": self.seed,
            "ridge": self.ridge,
        }
        return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)

    @classmethod
    def from_header(cls, header: UInt8[Tensor, " bytes"]) -> "EkfacSpec":
        """Restore the settings from the tensor of `to_header`."""
        content = json.loads(bytes(header.tolist()))
        space = ParamSpace(tuple(content["names"]), tuple(map(tuple, content["shapes"])))
        groups = tuple(ParameterGroup(kind, tuple(names)) for kind, names in content["groups"])
        return cls(space, groups, content["sampled"], content["seed"], content["ridge"])


@torch.no_grad()
def _find_finite_examples(
    objective: Objective, examples: Examples, count: int = 2
) -> Int[Tensor, " few"]:
    """Return the first examples with a finite loss, of the whole set: all shards agree on them."""
    finite_ids: list[Tensor] = []
    for ids in all_ids(examples).split(count):
        losses = objective.losses(objective.params, examples.take(ids))
        finite_ids.append(ids[torch.isfinite(losses).cpu()])
        if sum(map(len, finite_ids)) >= count:
            break
    return torch.cat(finite_ids)[:count]
