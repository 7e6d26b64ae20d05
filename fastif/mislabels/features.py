"""Views of rows that no label has touched, made comparable and put side by side."""

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
"""Rows that a kind has to be of."""
WINSOR_LIMIT = 15.0
"""Of `standardize_robustly`: median absolute deviations from the median where values are clipped;
ten standard deviations of a normal distribution."""
ROUNDING = 1e-13
"""Distance from a column's median, in parts of the median, below which a number is it, rounded."""
MAX_CATEGORIES, KNOTS, FOURIER_FEATURES, FREQUENCY = 100, 8, 300, 2.0
"""Of `make_tabular_features`: most categories of a column that count; knots of a spline; number and
frequency of random Fourier features."""


def concat_views(views: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "n d"]:
    """The views side by side: every column of mean 0, every view of the same weight.

    A row's squared length is about 1 whatever the widths, so that one penalty fits all.

    >>> concat_views([torch.tensor([[0.0], [2.0]])])
    tensor([[-1.],
            [ 1.]])
    """
    return torch.cat([standardize_view(view) / len(views) ** 0.5 for view in views], 1)


def standardize_view(view: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The view with every column of mean 0 and of the same spread, rows of squared length 1."""
    spread = view.std(0, correction=0)
    varying = spread > 1e-6 * spread.max().clamp_min(1e-30)
    columns = torch.where(varying, (view - view.mean(0)) / spread.where(varying, 1.0), 0.0)
    return columns / max(1, view.shape[1]) ** 0.5


def compute_lsa(terms: csr_matrix, dimensions: int = 300) -> Float[Tensor, "n d"]:
    """Words and pairs of neighbouring words in few dimensions.

    The leading singular vectors of their weights (latent semantic analysis; Deerwester and others,
    1990). What the encoder's language is not, this is.

    Args:
        terms: of every row; see `terms.tf_idf`.
        dimensions: most that are kept.
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
    # In double precision and rounded: where numbers lie in memory changes a product's last digits.
    return (rows * signs).round(decimals=6).float()


def make_tabular_features(
    numbers: Float[Tensor, "n d"], categorical: Sequence[Sequence[str | None]] = ()
) -> Float[Tensor, "n w"]:
    """Columns of numbers and of kinds as features that a linear head can tell classes by.

    Side by side: the numbers, beside which of them are missing and which kind each row is of;
    each number cut into pieces between its quantiles, so that a class may lie in the middle; and
    cosines of random sums of all of it, which stand for how columns act together (random Fourier
    features; Rahimi and Recht, 2007). Every column is standardised by itself, so that neither its
    unit nor one far number in it takes weight from the others.

    Args:
        numbers: NaN where missing; the column's median stands for it. In double precision where
            numbers are large beside their differences, as seconds since 1970 are.
        categorical: columns of words of which only the equality counts; None is a kind too.

    Raises:
        InputError: a number is infinite.

    >>> make_tabular_features(torch.tensor([[1.0], [2.0], [torch.nan]]), [["a", "b", "a"]]).shape
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
    """Winsorised z-scores of each column by itself; 0 throughout where it is constant.

    (x - median) / d, no further out than FENCE, d being the median of the absolute deviations that
    are not 0: a column that is mostly one number keeps the others. Each column is then brought to
    mean 0 and variance 1.

    Args:
        numbers: NaN where missing, for which the column's median stands.

    Raises:
        InputError: a number is infinite.

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
    """Of the numbers that are there the lower of the middle two; 0 where there is none."""
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
    """A column for each of the commonest kinds; rarer ones have none."""
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
    """Of each column, how near a number is to each of its quantiles, from 0 to 1, in between."""
    splines = []
    for column in numbers.T:
        knots = np.unique(np.quantile(column.numpy(), np.linspace(0, 1, KNOTS)))
        if len(knots) > 2:  # with two there is one piece: a straight line, which is there already
            basis = np.eye(len(knots))
            splines += [torch.from_numpy(np.interp(column.numpy(), knots, hat)) for hat in basis]
    return torch.stack(splines, 1).float() if splines else numbers[:, :0]


def _make_random_fourier(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """Cosines of random sums; rows have a squared length of about 1."""
    if not rows.shape[1]:
        return rows
    generator = torch.Generator().manual_seed(0)
    directions = FREQUENCY * torch.randn(rows.shape[1], FOURIER_FEATURES, generator=generator)
    # Rounded: where numbers lie in memory changes a product's last digits.
    phases = (rows.double() @ directions.double()).round(decimals=6).float()
    return (phases + 2 * torch.pi * torch.rand(FOURIER_FEATURES, generator=generator)).cos()
