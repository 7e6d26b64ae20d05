"""Do both EK-FACs give the same scores?"""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from scipy.stats import rankdata
from torch import Tensor


def agreement(folder: Path) -> dict:
    """Fastif's EK-FAC against kronfluence's, of the first round; nothing if one is not there."""
    paths = [folder / f"{name}-0.safetensors" for name in ("ekfac", "kronfluence")]
    if not all(path.is_file() for path in paths):
        return {}
    ours, theirs = (load_file(path)["scores"] for path in paths)
    return {"pearson": _quartiles(correlation(ours, theirs)), "spearman": _ranked(ours, theirs)}


def correlation(left: Float[Tensor, "q n"], right: Float[Tensor, "q n"]) -> Float[Tensor, " q"]:
    """Pearson's correlation of each query's scores.

    >>> rows = torch.tensor([[1.0, 2.0, 4.0]])
    >>> correlation(rows, 3 * rows + 1)
    tensor([1.], dtype=torch.float64)
    """
    left, right = (rows.double() - rows.double().mean(1, keepdim=True) for rows in (left, right))
    return torch.cosine_similarity(left, right)


def _ranked(left: Tensor, right: Tensor) -> dict[str, float]:
    ranks = [torch.from_numpy(rankdata(rows.numpy(), axis=1)) for rows in (left, right)]
    return _quartiles(correlation(*ranks))


def _quartiles(values: Tensor) -> dict[str, float]:
    return {"least": float(values.min()), "median": float(values.median())}
