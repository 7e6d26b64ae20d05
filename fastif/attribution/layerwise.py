"""Scores by named parts of the parameters: which layers carry an effect."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.influence import UNSEEN
from fastif.attribution.leverage import scored_tile
from fastif.data.examples import Examples, places_by_length
from fastif.errors import InputError
from fastif.gradients.hooks import owner_of
from fastif.gradients.per_example import Gradients
from fastif.models.parameters import ParamSpace
from fastif.numerics.blocked_dot import inner_products

OTHER = "other"
"""The block of the parameters that no group asks for."""


@dataclass(frozen=True)
class Blocks:
    """A partition of the attributed parameters: each stands in exactly one named block.

    Attributes:
        slices: for each block where its parameters stand in a row; none for a block of which
            nothing is attributed.
    """

    slices: Mapping[str, tuple[slice, ...]]

    @classmethod
    def by_layer(cls, space: ParamSpace) -> "Blocks":
        """One block a numbered layer, named up to its number; else the module that owns them.

        >>> names = ("net.layer.5.key.weight", "net.layer.5.key.bias", "head.weight", "scale")
        >>> space = ParamSpace(names, ((2, 2), (2,), (2, 2), (3,)))
        >>> list(Blocks.by_layer(space).slices)
        ['net.layer.5', 'head', 'scale']
        """
        found: dict[str, tuple[slice, ...]] = {}
        for name, where in zip(space.names, space.slices, strict=True):
            numbered = re.match(r"(?:.*?\.)??\d+(?=\.)", name)
            block = numbered.group() if numbered else owner_of(name) or name
            found[block] = (*found.get(block, ()), where)
        return cls(found)

    @classmethod
    def matching(cls, space: ParamSpace, groups: Mapping[str, str | Sequence[str]]) -> "Blocks":
        r"""One block a group, of the parameters in whose name one of its expressions is found.

        What no group asks for is the block `OTHER`, if there is any. A group of which nothing is
        attributed stays, as an empty block: its scores are zero.

        Raises:
            InputError: a parameter is in two groups, or a group has the name of the rest.

        >>> space = ParamSpace(("net.0.weight", "net.1.weight"), ((2,), (3,)))
        >>> Blocks.matching(space, {"low": r"net\.0", "embeddings": "^table"}).slices
        {'low': (slice(0, 2, None),), 'embeddings': (), 'other': (slice(2, 5, None),)}
        """
        if OTHER in groups:
            raise InputError(
                "blocks", "names of groups", f"{OTHER!r}", f"{OTHER!r} names the rest; rename it."
            )
        found: dict[str, tuple[slice, ...]] = dict.fromkeys(groups, ())
        for name, where in zip(space.names, space.slices, strict=True):
            block = _group_of(name, groups)
            found[block] = (*found.get(block, ()), where)
        return cls(found)

    @property
    def names(self) -> tuple[str, ...]:
        """The blocks in their order."""
        return tuple(self.slices)


def _group_of(name: str, groups: Mapping[str, str | Sequence[str]]) -> str:
    """The one group that asks for this parameter.

    Raises:
        InputError: two ask for it.
    """
    mine = []
    for group, patterns in groups.items():
        patterns = [patterns] if isinstance(patterns, str) else patterns
        if any(re.search(pattern, name) for pattern in patterns):
            mine.append(group)
    if len(mine) > 1:
        raise InputError(
            "blocks",
            "every parameter in one group",
            f"{name} in {' and '.join(mine)}",
            "Make the expressions narrower, or scores would count it twice.",
        )
    return mine[0] if mine else OTHER


def influence_by_block(
    gradients: Gradients,
    train: Examples,
    s_test: Float[Tensor, "q p"],
    ids: Int[Tensor, "q k"],
    blocks: Blocks,
    *,
    batch_size: int = 32,
    weights: Float[Tensor, "n c"] | None = None,
) -> Float[Tensor, "q k m"]:
    """Removal effects of the given pairs, split over m blocks that sum to the whole effect.

        removal_effect[query, train, block] = 1/n · s_test(query)[block] · ∇L(train)[block]

    The training example pulls on every block, by 1/n ∇L(train)[block]. A block's score is what its
    part of the pull does to the query after *all* attributed parameters have given way to it:
    blocks are told apart where the example pulls, not where the model moves. With the roles
    exchanged, solved rows of the training examples and gradients of the queries, it is the reverse.
    Where the curvature does not mix the blocks, as in EK-FAC, both are the same.

    Args:
        gradients: of the objective that s_test was solved for.
        train: the n training examples.
        s_test: one solved row a query.
        ids: positions of the training examples to score for each query, say `Influences.ids`.
        blocks: of the objective's parameters.
        batch_size: training examples whose gradients are held at once.
        weights: of their root rows, with `mixing` gradients, as `GradientScorer` has them.

    Returns:
        For each pair one score a block, in the order of `blocks.names`; infinite where the id is
        `UNSEEN`.
    """
    wanted, column = ids.unique(return_inverse=True)
    query = torch.arange(len(ids))[:, None].expand_as(ids)
    scores = s_test.new_full((*ids.shape, len(blocks.names)), torch.inf).cpu()
    seen = (wanted != UNSEEN).nonzero()[:, 0]
    for places in places_by_length(train, wanted[seen], batch_size):
        tile = scored_tile(gradients, train, wanted[seen][places], weights)
        products = _products(s_test, tile.rows, blocks).div_(len(train)).cpu()
        place_in_tile = torch.full_like(wanted, -1)
        place_in_tile[seen[places]] = torch.arange(len(places))
        asked = place_in_tile[column]
        here = asked >= 0
        scores[here] = products[query[here], asked[here]]
    return scores


def _products(s_test: Tensor, rows: Tensor, blocks: Blocks) -> Float[Tensor, "q b m"]:
    """Inner products within each block."""
    found = s_test.new_zeros(len(s_test), len(rows), len(blocks.names))
    for number, slices in enumerate(blocks.slices.values()):
        for where in slices:
            found[:, :, number] += inner_products(s_test[:, where], rows[:, where])
    return found
