"""What EK-FAC fits for which parameters, and from which columns of the loss's curvature root."""

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
"""Root columns above which "auto" samples: each is a backward pass over the training set."""

Labels = Literal["auto", "exact", "sampled"]


@dataclass(frozen=True)
class EkfacSpec:
    """What a fit in pieces has to agree on; sums of two schemes are never added up.

    Attributes:
        space: the attributed parameters.
        groups: which of them make a block; every one is in exactly one group.
        sampled: whether the root's columns are mixed into one by random signs.
        seed: of the signs.
        ridge: what training itself added to the diagonal; no block holds it.
    """

    space: ParamSpace
    groups: tuple[ParameterGroup, ...]
    sampled: bool
    seed: int
    ridge: float

    @classmethod
    def from_curvature(cls, curvature: GaussNewton, labels: Labels, seed: int) -> "EkfacSpec":
        """The scheme of a curvature: the same for every piece of one training set.

        Raises:
            InputError: it is a curvature over no examples, or over broken ones only; or `labels`
                is none of its words.
        """
        if labels not in get_args(Labels):
            raise InputError(
                "EK-FAC labels", " or ".join(get_args(Labels)), f"{labels}", 'Leave it at "auto".'
            )
        objective, examples = curvature.objective, curvature.examples
        finite_ids = _find_finite_examples(objective, examples)
        if not curvature.count or not len(finite_ids):
            raise InputError(
                "EK-FAC",
                "at least one training example of finite loss",
                "none",
                "Give the curvature some sound training rows.",
            )
        groups = group_parameters(objective, objective.compute_prefix(examples.take(finite_ids)))
        sampled = labels == "sampled" or (
            labels == "auto" and curvature.rows_per_example > MAX_EXACT_COLUMNS
        )
        return cls(objective.space, groups, sampled, seed, curvature.ridge)

    def make_subset(self, curvature: GaussNewton, linear: bool) -> ParameterSubset:
        """The objective of the Kronecker blocks, or of all others."""
        chosen = [group for group in self.groups if (group.kind == "kronecker") is linear]
        return ParameterSubset(
            curvature.objective, [name for group in chosen for name in group.names]
        )

    def iterate_batches(self, curvature: GaussNewton) -> Iterator[Batch]:
        """The training set, its frozen part computed, with signs where columns are sampled."""
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
        """The scheme as a tensor of text, so that it can lie beside tensors in one file."""
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
        """The scheme that was written."""
        content = json.loads(bytes(header.tolist()))
        space = ParamSpace(tuple(content["names"]), tuple(map(tuple, content["shapes"])))
        groups = tuple(ParameterGroup(kind, tuple(names)) for kind, names in content["groups"])
        return cls(space, groups, content["sampled"], content["seed"], content["ridge"])


@torch.no_grad()
def _find_finite_examples(
    objective: Objective, examples: Examples, count: int = 2
) -> Int[Tensor, " few"]:
    """The first examples of finite loss, of the whole set: all pieces of it must decide alike."""
    finite_ids: list[Tensor] = []
    for ids in all_ids(examples).split(count):
        losses = objective.losses(objective.params, examples.take(ids))
        finite_ids.append(ids[torch.isfinite(losses).cpu()])
        if sum(map(len, finite_ids)) >= count:
            break
    return torch.cat(finite_ids)[:count]
