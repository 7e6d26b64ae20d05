"""Feature views: representations of the same rows, and weights selected by cross-validation."""

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
from fastif.mislabels.pseudo_r2 import calibrated_pseudo_r2

TEXT_WEIGHTS = ((1 / 3, 1 / 3, 1 / 3), (0.0, 1 / 2, 1 / 2), (0.0, 1 / 4, 3 / 4))
"""Candidate weights of an encoder's middle layer, its last layer, and LSA of words. Middle layers
represent tone and wording, last layers topics; words serve languages that the encoder lacks."""

MAX_SELECTION_ROWS = 20_000
"""Maximum number of rows on which weights are selected."""

CROSS_FITTER = CrossFitter(folds=5, repeats=1, penalty=1e-3, seed=0)
"""Cross-fitting of the heads that score a choice of weights."""


@dataclass(frozen=True, eq=False)
class FeatureViews:
    """Several feature views of the same n rows, with candidate weights for their combination.

    Attributes:
        views: Feature matrices [n, d_v], centred and of the same total variance; see
            `standardize_view`.
        weight_options: Candidate weights, one number a view, that sum to 1. The first is the
            default.
        terms: Sparse tf-idf matrices of texts, [n, terms]: word n-grams, then character n-grams;
            see `tf_idf` and `char_trigrams`. Empty if rows are not single texts.
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
        *,
        in_place: bool = False,
    ) -> "FeatureViews":
        """Standardize feature matrices and return them as views.

        Args:
            views: Feature matrices, one row an example, [n, d_v].
            weight_options: Candidate weights, one number a view.
            terms: Sparse tf-idf matrices of the same rows.
            in_place: Whether the matrices are overwritten, which halves the memory.
        """
        standardized = tuple(standardize_view(view, view if in_place else None) for view in views)
        return cls(standardized, tuple(tuple(weights) for weights in weight_options), terms)

    def concat_weighted(
        self, weights: Sequence[float], rows: Int[Tensor, " m"] | slice = slice(None)
    ) -> Float[Tensor, "m d"]:
        """Concatenate the views, each times √weight; a row has an expected squared norm of 1.

        Args:
            weights: One weight a view; views of weight 0 are left out.
            rows: Positions of the rows; all by default.

        Returns:
            Features, [m, d].

        Examples:
            >>> import torch
            >>> from fastif.mislabels import FeatureViews
            >>> views = FeatureViews.from_features(
            ...     [torch.tensor([[0.0], [2.0]])] * 2, [(1.0, 0.0), (0.75, 0.25)]
            ... )
            >>> first, second = map(views.concat_weighted, views.weight_options)
            >>> first.shape, second.square().sum(1)
            (torch.Size([2, 1]), tensor([1., 1.]))
        """
        pairs = zip(self.views, weights, strict=True)
        parts = [(view[rows], weight**0.5) for view, weight in pairs if weight]
        if len(parts) == 1 and parts[0][1] == 1:
            return parts[0][0]
        joined = parts[0][0].new_empty(len(parts[0][0]), sum(part.shape[1] for part, _ in parts))
        columns = joined.split([part.shape[1] for part, _ in parts], 1)
        for column, (part, factor) in zip(columns, parts, strict=True):
            torch.mul(part, factor, out=column)
        return joined

    def select_weights(
        self,
        ids: Int[Tensor, " m"],
        labels: Int[Tensor, " m"],
        classes: int,
        group_ids: Int[Tensor, " m"] | None = None,
    ) -> tuple[float, ...]:
        """Select the view weights of the largest out-of-fold pseudo-R² of the labels.

        Args:
            ids: Positions of the labelled rows; a random subset of 20,000 if there are more.
            labels: Labels of these rows, trusted ones where there are some, [m].
            classes: Number of classes.
            group_ids: Group of each row; a group stays in one fold. None: every row
                is its own group.

        Returns:
            One of `weight_options`; the first if there is no choice or a single class.
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
