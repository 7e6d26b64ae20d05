"""What EK-FAC fits for which parameters, and from which columns of the loss's curvature root."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from fastif.curvature.ekfac.parameter_groups import Group, grouped
from fastif.curvature.ekfac.rademacher import signs
from fastif.curvature.ggn import GaussNewton
from fastif.data.examples import (
    Batch,
    Examples,
    batches,
    every,
)
from fastif.errors import InputError
from fastif.gradients.hooks import MIX
from fastif.models.objective import Objective
from fastif.models.parameter_subset import Subset
from fastif.models.parameters import ParamSpace

MANY_COLUMNS = 10
"""Root columns above which "auto" samples: each is a backward pass over the training set."""

Labels = Literal["auto", "exact", "sampled"]


@dataclass(frozen=True)
class Scheme:
    """What a fit in pieces has to agree on; sums of two schemes are never added up.

    Attributes:
        space: the attributed parameters.
        groups: which of them make a block; every one is in exactly one group.
        sampled: whether the root's columns are mixed into one by random signs.
        seed: of the signs.
        ridge: what training itself added to the diagonal; no block holds it.
    """

    space: ParamSpace
    groups: tuple[Group, ...]
    sampled: bool
    seed: int
    ridge: float

    @classmethod
    def of(cls, curvature: GaussNewton, labels: Labels, seed: int) -> "Scheme":
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
        few = _sound(objective, examples)
        if not curvature.count or not len(few):
            raise InputError(
                "EK-FAC",
                "at least one training example of finite loss",
                "none",
                "Give the curvature some sound training rows.",
            )
        groups = grouped(objective, objective.prefix(examples.take(few)))
        sampled = labels == "sampled" or (labels == "auto" and curvature.columns > MANY_COLUMNS)
        return cls(objective.space, groups, sampled, seed, curvature.ridge)

    def subset(self, curvature: GaussNewton, linear: bool) -> Subset:
        """The objective of the Kronecker blocks, or of all others."""
        chosen = [group for group in self.groups if (group.kind == "kronecker") is linear]
        return Subset(curvature.objective, [name for group in chosen for name in group.names])

    def batches(self, curvature: GaussNewton) -> Iterator[Batch]:
        """The training set, its frozen part computed, with signs where columns are sampled."""
        ids = every(curvature.examples) if curvature.ids is None else curvature.ids
        columns = curvature.columns
        for places, batch in batches(curvature.examples, ids, curvature.batch_size):
            ready = curvature.objective.prefix(batch)
            if self.sampled:
                drawn = signs(self.seed, ids[places], columns).to(curvature.like.device)
                ready = {**ready, MIX: drawn}
            yield ready

    def header(self) -> UInt8[Tensor, " bytes"]:
        """The scheme as a tensor of text, so that it can lie beside tensors in one file."""
        text = {
            "names": self.space.names,
            "shapes": self.space.shapes,
            "groups": [[group.kind, group.names] for group in self.groups],
            "sampled": self.sampled,
            "seed": self.seed,
            "ridge": self.ridge,
        }
        return torch.tensor(list(json.dumps(text).encode()), dtype=torch.uint8)

    @classmethod
    def of_header(cls, header: UInt8[Tensor, " bytes"]) -> "Scheme":
        """The scheme that was written."""
        text = json.loads(bytes(header.tolist()))
        space = ParamSpace(tuple(text["names"]), tuple(map(tuple, text["shapes"])))
        groups = tuple(Group(kind, tuple(names)) for kind, names in text["groups"])
        return cls(space, groups, text["sampled"], text["seed"], text["ridge"])


@torch.no_grad()
def _sound(objective: Objective, examples: Examples, count: int = 2) -> Int[Tensor, " few"]:
    """The first examples of finite loss, of the whole set: all pieces of it must decide alike."""
    found: list[Tensor] = []
    for ids in every(examples).split(count):
        losses = objective.losses(objective.params, examples.take(ids))
        found.append(ids[torch.isfinite(losses).cpu()])
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]
