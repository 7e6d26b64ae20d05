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

LEAST = 2
"""Rows that a kind has to be of."""
FENCE = 15.0
"""Of `standardised`: median absolute deviations from the median beyond which a number counts as if
it lay there; ten standard deviations of a normal distribution."""
ROUNDING = 1e-13
"""Distance from a column's median, in parts of the median, below which a number is it, rounded."""
KINDS, KNOTS, WAVES, FREQUENCY = 100, 8, 300, 2.0
"""Of `tabular`: most kinds of a column that count; quantiles of a number; random sums, and how fast
their cosines turn."""


def joined(views: Sequence[Float[Tensor, "n _"]]) -> Float[Tensor, "n d"]:
    """The views side by side: every column of mean 0, every view of the same weight.

    A row's squared length is about 1 whatever the widths, so that one penalty fits all.

    >>> joined([torch.tensor([[0.0], [2.0]])])
    tensor([[-1.],
            [ 1.]])
    """
    return torch.cat([levelled(view) / len(views) ** 0.5 for view in views], 1)


def levelled(view: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The view with every column of mean 0 and of the same spread, rows of squared length 1."""
    spread = view.std(0, correction=0)
    known = spread > 1e-6 * spread.max().clamp_min(1e-30)
    columns = torch.where(known, (view - view.mean(0)) / spread.where(known, 1.0), 0.0)
    return columns / max(1, view.shape[1]) ** 0.5


def lexical(terms: csr_matrix, dimensions: int = 300) -> Float[Tensor, "n d"]:
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


def tabular(
    numbers: Float[Tensor, "n d"], kinds: Sequence[Sequence[str | None]] = ()
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
        kinds: columns of words of which only the equality counts; None is a kind too.

    Raises:
        InputError: a number is infinite.

    >>> tabular(torch.tensor([[1.0], [2.0], [torch.nan]]), [["a", "b", "a"]]).shape
    torch.Size([3, 308])
    """
    missing = numbers.isnan()
    whole = standardised(numbers)
    plain = torch.cat([whole, missing.float(), *(_one_hot(column) for column in kinds)], 1)
    views = [joined([plain]), _pieces(whole), _waves(joined([plain]))]
    return joined([view for view in views if view.shape[1]])


def standardised(numbers: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Winsorised z-scores of each column by itself; 0 throughout where it is constant.

    (x - median) / d, no further out than FENCE, d being the median of the absolute deviations that
    are not 0: a column that is mostly one number keeps the others. Each column is then brought to
    mean 0 and variance 1.

    Args:
        numbers: NaN where missing, for which the column's median stands.

    Raises:
        InputError: a number is infinite.

    >>> standardised(torch.tensor([[1e9, 1.0], [-1e9, 1.0], [1e9, 1.0], [-1e9, 1.0]]))
    tensor([[ 1.,  0.],
            [-1.,  0.],
            [ 1.,  0.],
            [-1.,  0.]])
    """
    _check_finite(numbers)
    if not len(numbers):
        return numbers.float()
    x = numbers.double()
    x = torch.where(x.isnan(), _median(x), x)
    x = x / 4  # so that no difference overflows
    middle = _median(x)
    away = x - middle
    step = _median(away.abs().where(away.abs() > ROUNDING * middle.abs(), torch.nan))
    away = (away / step.where(step > 0, 1.0)).clamp(-FENCE, FENCE)
    centred = away - away.mean(0)
    spread = centred.square().mean(0).sqrt()
    return torch.where(step > 0, centred / spread.clamp_min(1e-30), 0.0).float()


def _median(x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
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


def _one_hot(column: Sequence[str | None]) -> Float[Tensor, "n k"]:
    """A column for each of the commonest kinds; rarer ones have none."""
    counts = Counter("" if word is None else f"={word}" for word in column)
    order = sorted(counts, key=lambda kind: (-counts[kind], kind))
    kept = {kind: place for place, kind in enumerate(order[:KINDS]) if counts[kind] >= LEAST}
    found = torch.zeros(len(column), len(kept))
    for row, word in enumerate(column):
        place = kept.get("" if word is None else f"={word}")
        if place is not None:
            found[row, place] = 1.0
    return found


def _pieces(numbers: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """Of each column, how near a number is to each of its quantiles, from 0 to 1, in between."""
    found = []
    for column in numbers.T:
        knots = np.unique(np.quantile(column.numpy(), np.linspace(0, 1, KNOTS)))
        if len(knots) > 2:  # with two there is one piece: a straight line, which is there already
            each = np.eye(len(knots))
            found += [torch.from_numpy(np.interp(column.numpy(), knots, hat)) for hat in each]
    return torch.stack(found, 1).float() if found else numbers[:, :0]


def _waves(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """Cosines of random sums; rows have a squared length of about 1."""
    if not rows.shape[1]:
        return rows
    generator = torch.Generator().manual_seed(0)
    directions = FREQUENCY * torch.randn(rows.shape[1], WAVES, generator=generator)
    # Rounded: where numbers lie in memory changes a product's last digits.
    phases = (rows.double() @ directions.double()).round(decimals=6).float()
    return (phases + 2 * torch.pi * torch.rand(WAVES, generator=generator)).cos()
