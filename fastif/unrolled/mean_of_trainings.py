"""Mean of removal effects over recorded trainings with several seeds and orders of the data."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.errors import InputError


def average_trainings(
    effects: Iterable[Float[Tensor, "q n"]],
) -> tuple[Float[Tensor, "q n"], Float[Tensor, "q n"]]:
    """Average removal effects over recorded trainings, each unrolled by itself.

    The effects of a single training hold for its seed and order of the data. Their mean predicts
    removals in trainings with other seeds, and their spread states what the trainings do not agree
    on.

    Args:
        effects: Removal effects of the same queries and rows, of each of m trainings; read in
            turn, so that one matrix is in memory at a time.

    Returns:
        The mean, and the standard deviation over the trainings (with the divisor m - 1); NaN for a
        single one.

    Raises:
        InputError: There are no trainings, or their queries or rows differ in number.

    Examples:
        >>> mean, spread = average_trainings([torch.tensor([[1.0]]), torch.tensor([[3.0]])])
        >>> mean, spread.round(decimals=3)
        (tensor([[2.]]), tensor([[1.4140]]))
    """
    mean = squares = None
    count = 0
    matrix = torch.empty(0)
    for count, matrix in enumerate(effects, start=1):
        if mean is None or squares is None:
            mean, squares = matrix.double(), torch.zeros_like(matrix, dtype=torch.float64)
        elif matrix.shape != mean.shape:
            raise _refuse(tuple(mean.shape), tuple(matrix.shape))
        change = matrix.double() - mean
        mean = mean + change / count
        squares = squares.addcmul(change, matrix.double() - mean)  # Welford's update
    if mean is None or squares is None:
        raise _refuse("[q n]", "none")
    spread = (squares / (count - 1)).sqrt() if count > 1 else torch.full_like(mean, torch.nan)
    return mean.to(matrix.dtype), spread.to(matrix.dtype)


def _refuse(expected: object, got: object) -> InputError:
    return InputError(
        "effects of trainings",
        f"matrices of one shape {expected}, the same queries and rows",
        f"{got}",
        "Compute them with the same queries and the same training rows.",
    )
