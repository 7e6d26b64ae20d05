"""Correlation of the scores of sides with equal methods, and of scores in bfloat16."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from scipy.stats import rankdata
from torch import Tensor

PAIRS = (
    ("ekfac", "kronfluence"),
    ("ekfac", "ekfac-rounded"),
    ("products", "products-rounded"),
    ("products", "products-ranked"),
)


def agreement(folder: Path) -> list[dict]:
    """Return the correlations of the scores of the first round for each pair of sides."""
    return [correlations for pair in PAIRS if (correlations := _agreement(folder, pair))]


def _agreement(folder: Path, pair: tuple[str, str]) -> dict:
    paths = [folder / f"{name}-0.safetensors" for name in pair]
    if not all(path.is_file() for path in paths):
        return {}
    left, right = (load_file(path)["scores"] for path in paths)
    return {
        "sides": pair,
        "pearson": _quartiles(correlation(left, right)),
        "spearman": _rank(left, right),
    }


def correlation(left: Float[Tensor, "q n"], right: Float[Tensor, "q n"]) -> Float[Tensor, " q"]:
    """Return Pearson's correlation of the scores of each query.

    >>> rows = torch.tensor([[1.0, 2.0, 4.0]])
    >>> correlation(rows, 3 * rows + 1).round(decimals=6)
    tensor([1.], dtype=torch.float64)
    """
    left, right = (rows.double() - rows.double().mean(1, keepdim=True) for rows in (left, right))
    return torch.cosine_similarity(left, right)


def _rank(left: Tensor, right: Tensor) -> dict[str, float]:
    ranks = [torch.from_numpy(rankdata(rows.numpy(), axis=1)) for rows in (left, right)]
    return _quartiles(correlation(*ranks))


def _quartiles(values: Tensor) -> dict[str, float]:
    return {"least": float(values.min()), "median": float(values.median())}
