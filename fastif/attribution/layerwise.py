"""Layer-wise influence: removal effects split over named blocks of parameters."""

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
"""Name of the block of parameters that no group matches."""


@dataclass(frozen=True)
class ParameterBlocks:
    """Partition of the attributed parameters into named blocks.

    Attributes:
        slices: Column ranges of each block in the flattened parameters; empty for a block without
            attributed parameters.
    """

    slices: Mapping[str, tuple[slice, ...]]

    @classmethod
    def from_layers(cls, space: ParamSpace) -> "ParameterBlocks":
        """One block for each numbered layer, or for each owning module of unnumbered parameters.

        Examples:
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
        r"""One block for each group of regular expressions, searched in the parameter names.

        Unmatched parameters form the block `OTHER_BLOCK`. A group without attributed parameters
        stays as an empty block with scores of zero.

        Args:
            space: Names and shapes of the attributed parameters.
            groups: Regular expressions of each block, by the name of the block.

        Raises:
            InputError: A parameter matches two groups, or a group is named `OTHER_BLOCK`.

        Examples:
            >>> space = ParamSpace(("net.0.weight", "net.1.weight"), ((2,), (3,)))
            >>> groups = {"low": r"net\.0", "embeddings": "^table"}
            >>> ParameterBlocks.from_patterns(space, groups).slices
            {'low': (slice(0, 2, None),), 'embeddings': (), 'other': (slice(2, 5, None),)}
        """
        if OTHER_BLOCK in groups:
            raise InputError(
                "blocks",
                f"names of groups other than {OTHER_BLOCK!r}",
                f"{OTHER_BLOCK!r}",
                f"Rename this group: {OTHER_BLOCK!r} is the block of unmatched parameters.",
            )
        slices: dict[str, tuple[slice, ...]] = dict.fromkeys(groups, ())
        for name, span in zip(space.names, space.slices, strict=True):
            block = _find_group(name, groups)
            slices[block] = (*slices.get(block, ()), span)
        return cls(slices)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the blocks, in order."""
        return tuple(self.slices)


def _find_group(name: str, groups: Mapping[str, str | Sequence[str]]) -> str:
    """Return the group that matches a parameter, or `OTHER_BLOCK`.

    Raises:
        InputError: Two groups match.
    """
    matches = []
    for group, patterns in groups.items():
        patterns = [patterns] if isinstance(patterns, str) else patterns
        if any(re.search(pattern, name) for pattern in patterns):
            matches.append(group)
    if len(matches) > 1:
        raise InputError(
            "blocks",
            "every parameter in one group at most",
            f"{name} in {' and '.join(matches)}",
            "Make the regular expressions narrower; otherwise scores would count it twice.",
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
    """Removal effects of query-example pairs, split over m parameter blocks that sum to the effect.

        removal_effect[query, train, block] = 1/n · s_test(query)[block] · ∇L(train)[block]

    A block's score is the effect of the part of the training gradient in that block, after *all*
    attributed parameters have responded: blocks are distinguished by where the example's gradient
    lies, not by where the parameters move. With exchanged roles (s_test of the training examples,
    gradients of the queries) it is the reverse. For a block-diagonal curvature such as EK-FAC both
    are equal.

    Args:
        gradients: Per-example gradients of the objective for which s_test was solved.
        train: Training set of n examples; its `batch_size` bounds how many gradients are held.
        s_test: Inverse-Hessian-vector products [q p], one for each query.
        ids: Positions [q k] of the training examples to score for each query, as in
            `Influences.ids`.
        blocks: Partition of the objective's parameters.
        weights: Weights [n c] of the factor rows, for scores with leverage. They need
            `make_weighted_gradients` gradients.

    Returns:
        Scores [q k m] of each pair, in the order of `blocks.names`; infinite where the id is
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
    """Inner products of each pair of vectors within each block."""
    products = s_test.new_zeros(len(s_test), len(vectors), len(blocks.names))
    for block, slices in enumerate(blocks.slices.values()):
        for span in slices:
            products[:, :, block] += pairwise_dots(s_test[:, span], vectors[:, span])
    return products
