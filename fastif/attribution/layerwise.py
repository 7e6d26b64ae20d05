"""Scores by named parts of the parameters: which layers carry an effect."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.influence import NO_EXAMPLE
from fastif.attribution.leverage import compute_scored_tile
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.gradients.hooks import get_owner_name
from fastif.gradients.per_example import Gradients
from fastif.models.parameters import ParamSpace
from fastif.numerics.blocked_dot import pairwise_dots

OTHER_BLOCK = "other"
"""The block of the parameters that no group asks for."""


@dataclass(frozen=True)
class ParameterBlocks:
    """A partition of the attributed parameters: each stands in exactly one named block.

    Attributes:
        slices: for each block where its parameters stand in a row; none for a block of which
            nothing is attributed.
    """

    slices: Mapping[str, tuple[slice, ...]]

    @classmethod
    def from_layers(cls, space: ParamSpace) -> "ParameterBlocks":
        """One block a numbered layer, named up to its number; else the module that owns them.

        >>> names = ("net.layer.5.key.weight", "net.layer.5.key.bias", "head.weight", "scale")
        >>> space = ParamSpace(names, ((2, 2), (2,), (2, 2), (3,)))
        >>> list(ParameterBlocks.from_layers(space).slices)
        ['net.layer.5', 'head', 'scale']
        """
        slices: dict[str, tuple[slice, ...]] = {}
        for name, span in zip(space.names, space.slices, strict=True):
            layer_match = re.match(r"(?:.*?\.)??\d+(?=\.)", name)
            block = layer_match.group() if layer_match else get_owner_name(name) or name
            slices[block] = (*slices.get(block, ()), span)
        return cls(slices)

    @classmethod
    def from_patterns(
        cls, space: ParamSpace, groups: Mapping[str, str | Sequence[str]]
    ) -> "ParameterBlocks":
        r"""One block a group, of the parameters in whose name one of its expressions is found.

        What no group asks for is the block `OTHER_BLOCK`, if there is any. A group of which nothing
        is
        attributed stays, as an empty block: its scores are zero.

        Raises:
            InputError: a parameter is in two groups, or a group has the name of the rest.

        >>> space = ParamSpace(("net.0.weight", "net.1.weight"), ((2,), (3,)))
        >>> ParameterBlocks.from_patterns(space, {"low": r"net\.0", "embeddings": "^table"}).slices
        {'low': (slice(0, 2, None),), 'embeddings': (), 'other': (slice(2, 5, None),)}
        """
        if OTHER_BLOCK in groups:
            raise InputError(
                "blocks",
                "names of groups",
                f"{OTHER_BLOCK!r}",
                f"{OTHER_BLOCK!r} names the rest; rename it.",
            )
        slices: dict[str, tuple[slice, ...]] = dict.fromkeys(groups, ())
        for name, span in zip(space.names, space.slices, strict=True):
            block = _find_group(name, groups)
            slices[block] = (*slices.get(block, ()), span)
        return cls(slices)

    @property
    def names(self) -> tuple[str, ...]:
        """The blocks in their order."""
        return tuple(self.slices)


def _find_group(name: str, groups: Mapping[str, str | Sequence[str]]) -> str:
    """The one group that asks for this parameter.

    Raises:
        InputError: two ask for it.
    """
    matches = []
    for group, patterns in groups.items():
        patterns = [patterns] if isinstance(patterns, str) else patterns
        if any(re.search(pattern, name) for pattern in patterns):
            matches.append(group)
    if len(matches) > 1:
        raise InputError(
            "blocks",
            "every parameter in one group",
            f"{name} in {' and '.join(matches)}",
            "Make the expressions narrower, or scores would count it twice.",
        )
    return matches[0] if matches else OTHER_BLOCK


def layerwise_influence(
    gradients: Gradients,
    train: Examples,
    s_test: Float[Tensor, "q p"],
    ids: Int[Tensor, "q k"],
    blocks: ParameterBlocks,
    *,
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
        train: the n training examples, whose `batch_size` says how many gradients are held.
        s_test: one solved row a query.
        ids: positions of the training examples to score for each query, say `Influences.ids`.
        blocks: of the objective's parameters.
        weights: of their root rows, with `make_weighted_gradients` gradients, as `GradientScorer`
            has them.

    Returns:
        For each pair one score a block, in the order of `blocks.names`; infinite where the id is
        `NO_EXAMPLE`.
    """
    unique_ids, column = ids.unique(return_inverse=True)
    query_index = torch.arange(len(ids))[:, None].expand_as(ids)
    scores = s_test.new_full((*ids.shape, len(blocks.names)), torch.inf).cpu()
    valid_positions = (unique_ids != NO_EXAMPLE).nonzero()[:, 0]
    for positions in train.length_buckets(unique_ids[valid_positions]):
        tile = compute_scored_tile(
            gradients, train, unique_ids[valid_positions][positions], weights
        )
        products = _blockwise_products(s_test, tile.gradients, blocks).div_(len(train)).cpu()
        column_by_id = torch.full_like(unique_ids, -1)
        column_by_id[valid_positions[positions]] = torch.arange(len(positions))
        tile_column = column_by_id[column]
        present = tile_column >= 0
        scores[present] = products[query_index[present], tile_column[present]]
    return scores


def _blockwise_products(
    s_test: Tensor, vectors: Tensor, blocks: ParameterBlocks
) -> Float[Tensor, "q b m"]:
    """Inner products within each block."""
    products = s_test.new_zeros(len(s_test), len(vectors), len(blocks.names))
    for block, slices in enumerate(blocks.slices.values()):
        for span in slices:
            products[:, :, block] += pairwise_dots(s_test[:, span], vectors[:, span])
    return products
