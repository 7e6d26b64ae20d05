"""Label-free features: latent semantic analysis, and numeric and categorical columns of tables."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds
from torch import Tensor

from fastif.errors import InputError

MIN_CATEGORY_ROWS = 2
"""Minimum number of rows of a category that has a one-hot column."""
WINSOR_LIMIT = 15.0
"""Winsorization limit of `standardize_robustly`, in median absolute deviations from the median; ten
standard deviations of a normal distribution."""
ROUNDING = 1e-13
"""Relative distance from a column's median below which a number equals it up to rounding."""
TILE_ROWS = 16_384
"""Number of rows that are standardized at a time."""
MAX_CATEGORIES, KNOTS, FOURIER_FEATURES, FREQUENCY = 100, 8, 300, 2.0
"""Settings of `make_tabular_features`: maximum number of one-hot columns of a column, knots of a
spline, and number and frequency of random Fourier features."""


def concat_views(views: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "n d"]:
    """Concatenate feature views, each standardized and of the same weight.

    A row's expected squared norm is 1 for any widths, so that one L2 penalty fits all. Memory
    beyond the views is that of the result and of a tile.

    Examples:
        >>> concat_views([torch.tensor([[0.0], [2.0]])])
        tensor([[-1.],
                [ 1.]])
    """
    width = sum(view.shape[1] for view in views)
    joined = views[0].new_empty(len(views[0]), width)
    for view, part in zip(views, joined.split([view.shape[1] for view in views], 1), strict=True):
        _standardize_into(part, view)
        part /= len(views) ** 0.5
    return joined


def standardize_view(
    view: Float[Tensor, "n d"], out: Float[Tensor, "n d"] | None = None
) -> Float[Tensor, "n d"]:
    """Z-score every column, and divide by √d, so that a row's expected squared norm is 1.

    Args:
        view: Features, [n, d].
        out: Tensor for the result, which may be `view` itself; None for a new one.
    """
    standardized = torch.empty_like(view) if out is None else out
    _standardize_into(standardized, view)
    return standardized


def _standardize_into(target: Float[Tensor, "n d"], view: Float[Tensor, "n d"]) -> None:
    """Write `standardize_view` of a view to a tensor, by tiles of rows."""
    mean, spread = view.mean(0), view.std(0, correction=0)
    varying = spread > 1e-6 * spread.max().clamp_min(1e-30)
    scale = spread.where(varying, 1.0)
    for tile, part in zip(view.split(TILE_ROWS), target.split(TILE_ROWS), strict=True):
        columns = torch.where(varying, (tile - mean) / scale, 0.0)
        part.copy_(columns / max(1, view.shape[1]) ** 0.5)


def compute_lsa(terms: csr_matrix, dimensions: int = 300) -> Float[Tensor, "n d"]:
    """Latent semantic analysis: truncated SVD of tf-idf weights (Deerwester et al., 1990).

    Rows of U Σ for the leading singular values. It needs no encoder, and so serves languages that
    the encoder lacks.

    Args:
        terms: Sparse tf-idf weights, [n, terms]; see `tf_idf`.
        dimensions: Maximum number of singular vectors.

    Returns:
        Low-dimensional features, [n, d].
    """
    shape: tuple[int, int] = terms.shape  # pyright: ignore[reportAssignmentType]
    rank = min(dimensions, min(shape) - 1)
    if rank < 1:
        return torch.zeros(shape[0], 0)
    start = np.random.default_rng(0).standard_normal(min(shape))
    left, sizes, _ = svds(terms, k=rank, v0=start)
    order = np.argsort(-sizes)
    rows = torch.from_numpy(np.ascontiguousarray((left * sizes)[:, order]))
    signs = rows.sum(0).sign().where(rows.sum(0) != 0, 1.0)
    # In double precision and rounded: memory alignment changes the last digits of a product.
    return (rows * signs).round(decimals=6).float()


def make_tabular_features(
    numbers: Float[Tensor, "n d"], categorical: Sequence[Sequence[str | None]] = ()
) -> Float[Tensor, "n w"]:
    """Encode numeric and categorical columns as features for a linear classifier.

    The features are standardized columns, concatenated with equal weight:

    - the numbers, indicators of missing values, and one-hot categories;
    - piecewise-linear splines with knots at quantiles, so that a class may lie in the middle;
    - random Fourier features of all of these, for interactions (Rahimi and Recht, 2007).

    Every column is standardized separately, so that neither its unit nor one extreme value takes
    weight from the others.

    Args:
        numbers: Numeric columns, [n, d]; NaN where missing, replaced by the column's median. Use
            float64 where numbers are large relative to their differences, such as Unix times.
        categorical: Categorical columns, n strings each; None is a category too.

    Returns:
        Features, [n, w]; a row's expected squared norm is 1.

    Raises:
        InputError: A number is infinite.

    Examples:
        >>> import torch
        >>> from fastif.mislabels import make_tabular_features
        >>> numbers = torch.tensor([[1.0], [2.0], [torch.nan]])
        >>> make_tabular_features(numbers, [["a", "b", "a"]]).shape
        torch.Size([3, 308])
    """
    missing = numbers.isnan()
    standardized = standardize_robustly(numbers)
    linear = torch.cat(
        [standardized, missing.float(), *(_encode_one_hot(column) for column in categorical)], 1
    )
    views = [
        concat_views([linear]),
        _make_splines(standardized),
        _make_random_fourier(concat_views([linear])),
    ]
    return concat_views([view for view in views if view.shape[1]])


def standardize_robustly(numbers: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Standardize each column by winsorized robust z-scores.

        z = clip((x - median) / MAD, ±15)

    MAD is the median of the absolute deviations other than 0, so that a column of mostly one value
    keeps the others. Each column is then centred and scaled to variance 1. A constant column is 0.

    Args:
        numbers: Numeric columns, [n, d]; NaN where missing, replaced by the column's median.

    Returns:
        Standardized columns in float32, [n, d].

    Raises:
        InputError: A number is infinite.

    Examples:
        >>> standardize_robustly(torch.tensor([[1e9, 1.0], [-1e9, 1.0], [1e9, 1.0], [-1e9, 1.0]]))
        tensor([[ 1.,  0.],
                [-1.,  0.],
                [ 1.,  0.],
                [-1.,  0.]])
    """
    _check_finite(numbers)
    if not len(numbers):
        return numbers.float()
    x = numbers.double()
    x = torch.where(x.isnan(), _lower_median(x), x)
    x = x / 4  # so that no difference overflows
    median = _lower_median(x)
    deviation = x - median
    scale = _lower_median(
        deviation.abs().where(deviation.abs() > ROUNDING * median.abs(), torch.nan)
    )
    deviation = (deviation / scale.where(scale > 0, 1.0)).clamp(-WINSOR_LIMIT, WINSOR_LIMIT)
    centred = deviation - deviation.mean(0)
    spread = centred.square().mean(0).sqrt()
    return torch.where(scale > 0, centred / spread.clamp_min(1e-30), 0.0).float()


def _lower_median(x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Lower median of each column without its NaN; 0 for a column of NaN alone."""
    return x.nanmedian(0).values.nan_to_num()


def _check_finite(numbers: Float[Tensor, "n d"]) -> None:
    bad = numbers.isinf().nonzero().tolist()
    if bad:
        row, column = bad[0]
        raise InputError(
            "tabular numbers",
            "finite numbers, or NaN where one is missing",
            f"infinity in row {row}, column {column}",
            "Correct these rows, or leave the column out.",
        )


def _encode_one_hot(column: Sequence[str | None]) -> Float[Tensor, "n k"]:
    """One-hot columns of the most frequent categories; rarer categories have none."""
    counts = Counter("" if value is None else f"={value}" for value in column)
    order = sorted(counts, key=lambda category: (-counts[category], category))
    columns_by_category = {
        category: position
        for position, category in enumerate(order[:MAX_CATEGORIES])
        if counts[category] >= MIN_CATEGORY_ROWS
    }
    encoded = torch.zeros(len(column), len(columns_by_category))
    for row, value in enumerate(column):
        position = columns_by_category.get("" if value is None else f"={value}")
        if position is not None:
            encoded[row, position] = 1.0
    return encoded


def _make_splines(numbers: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """Piecewise-linear spline basis (hat functions) of each column, with knots at its quantiles."""
    knots = [
        np.unique(np.quantile(column.numpy(), np.linspace(0, 1, KNOTS))) for column in numbers.T
    ]
    # With two knots there is one piece: a straight line, which is there already.
    bent = {column: places for column, places in enumerate(knots) if len(places) > 2}
    splines = numbers.new_empty(len(numbers), sum(map(len, bent.values())))
    targets = iter(splines.T)
    for column, places in bent.items():
        values = numbers[:, column].numpy()
        for hat in np.eye(len(places)):
            next(targets).copy_(torch.from_numpy(np.interp(values, places, hat)))
    return splines


def _make_random_fourier(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """Random Fourier features cos(xᵀω + φ) of rows of squared norm about 1."""
    if not rows.shape[1]:
        return rows
    generator = torch.Generator().manual_seed(0)
    directions = FREQUENCY * torch.randn(rows.shape[1], FOURIER_FEATURES, generator=generator)
    # Rounded: where numbers lie in memory changes a product's last digits.
    phases = (rows.double() @ directions.double()).round(decimals=6).float()
    return (phases + 2 * torch.pi * torch.rand(FOURIER_FEATURES, generator=generator)).cos()
