"""Rows seen in several ways, and how much each way of seeing them counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.features import standardize_view
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.noise_model import calibrated_pseudo_r2

TEXT_WEIGHTS = ((1 / 3, 1 / 3, 1 / 3), (0.0, 1 / 2, 1 / 2), (0.0, 1 / 4, 3 / 4))
"""Weights of an encoder's middle layer, of its last and of words. A middle layer knows more of tone
and of wording, the last more of topics; where the encoder does not know the language, words do."""

MAX_SELECTION_ROWS = 20_000
"""Rows that are asked which mix says most."""

CROSS_FITTER = CrossFitter(folds=5, repeats=1, penalty=1e-3, seed=0)


@dataclass(frozen=True, eq=False)
class FeatureViews:
    """Several views of the same rows, and the ways in which they may be mixed.

    Attributes:
        views: a view each, of mean 0 and of the same size; see `standardize_view`.
        weight_options: weights of the views that add up to 1. The first is taken where nothing can
            be told.
        terms: of rows that are texts: of words and of letters; see `terms`.
    """

    views: tuple[Float[Tensor, "n _"], ...]
    weight_options: tuple[tuple[float, ...], ...]
    terms: tuple[csr_matrix, ...] = ()

    @classmethod
    def from_features(
        cls,
        views: Sequence[Float[Tensor, "n _"]],
        weight_options: Sequence[Sequence[float]],
        terms: tuple[csr_matrix, ...] = (),
    ) -> "FeatureViews":
        """The views made comparable."""
        standardized = tuple(standardize_view(view) for view in views)
        return cls(standardized, tuple(tuple(weights) for weights in weight_options), terms)

    def concat_weighted(
        self, weights: Sequence[float], rows: Int[Tensor, " m"] | slice = slice(None)
    ) -> Float[Tensor, "m d"]:
        """The views of some rows side by side, each by its weight; a row's squared length is 1.

        >>> views = FeatureViews.from_features(
        ...     [torch.tensor([[0.0], [2.0]])] * 2, [(1.0, 0.0), (0.75, 0.25)]
        ... )
        >>> first, second = map(views.concat_weighted, views.weight_options)
        >>> first.shape, second.square().sum(1)
        (torch.Size([2, 1]), tensor([1., 1.]))
        """
        pairs = zip(self.views, weights, strict=True)
        return torch.cat([view[rows] * weight**0.5 for view, weight in pairs if weight], 1)

    def select_weights(
        self,
        ids: Int[Tensor, " m"],
        labels: Int[Tensor, " m"],
        classes: int,
        group_ids: Int[Tensor, " m"] | None = None,
    ) -> tuple[float, ...]:
        """The mix from which heads that have not seen a row tell most of its label.

        Args:
            ids: rows that are asked; 20,000 of them if there are more.
            labels: theirs; certain ones if there are, else as given.
            classes: how many there are.
            group_ids: equal for rows that must not judge each other.
        """
        if len(self.weight_options) == 1 or len(labels.unique()) < 2:
            return self.weight_options[0]
        generator = torch.Generator().manual_seed(CROSS_FITTER.seed)
        subset = torch.randperm(len(ids), generator=generator)[:MAX_SELECTION_ROWS].sort().values
        groups = None if group_ids is None else group_ids[subset]

        def score_weights(mix: Sequence[float]) -> float:
            rows = LabeledData(
                self.concat_weighted(mix, ids[subset]), labels[subset], classes, groups
            )
            return calibrated_pseudo_r2(
                CROSS_FITTER(rows, one_hot(rows.labels, classes).float()), rows.labels
            )

        return max(self.weight_options, key=score_weights)
