"""Correlations of predicted effects with outcomes of retraining: Pearson, Spearman and LDS."""

import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor


def pearson(left: Float[Tensor, "q c"], right: Float[Tensor, "q c"]) -> Float[Tensor, " q"]:
    """Pearson correlation [q] of paired rows; NaN where one of them is constant.

    Examples:
        >>> values = torch.tensor([[1.0, 2.0, 4.0]])
        >>> pearson(values, 2 * values).round(decimals=6)
        tensor([1.], dtype=torch.float64)
    """
    if left.shape[1] == 0:
        return torch.full((len(left),), torch.nan, dtype=torch.float64)
    constant = (left.amin(1) == left.amax(1)) | (right.amin(1) == right.amax(1))
    left, right = (rows.double() - rows.double().mean(1, keepdim=True) for rows in (left, right))
    correlation = (left * right).sum(1) / (left.norm(dim=1) * right.norm(dim=1))
    return torch.where(constant, torch.nan, correlation).clamp(-1, 1)


def spearman(left: Float[Tensor, "q c"], right: Float[Tensor, "q c"]) -> Float[Tensor, " q"]:
    """Spearman rank correlation [q] of paired rows; ties share their mean rank."""
    ranks = (torch.from_numpy(rankdata(rows.cpu().numpy(), axis=1)) for rows in (left, right))
    return pearson(*ranks)


def linear_datamodelling_score(
    removal_effect: Float[Tensor, "q n"],
    subsets: list[Int[Tensor, " _"]],
    outcomes: Float[Tensor, "m q"],
) -> Float[Tensor, " q"]:
    """Linear datamodeling score (LDS; Park et al., 2023) of each query.

        LDS(z) = Spearman over subsets S of (Σ_{i∈S} removal_effect[z, i], outcome_S(z))

    Args:
        removal_effect: Removal effects [q n] of all training examples; positive = helpful.
        subsets: Positions of the training examples of each of the m retrained models.
        outcomes: Outcomes [m q] of the queries under these models, higher is better, such as
            `margins`.

    Returns:
        One correlation from -1 to 1 for each query.

    Examples:
        >>> effect = torch.tensor([[1.0, 0.0, -1.0]])
        >>> subsets = [torch.tensor([0]), torch.tensor([1]), torch.tensor([2])]
        >>> linear_datamodelling_score(effect, subsets, torch.tensor([[0.9], [0.5], [0.1]])).round()
        tensor([1.], dtype=torch.float64)
    """
    summed = torch.stack([removal_effect[:, ids].sum(1) for ids in subsets], dim=1)
    return spearman(summed, outcomes.T)


def margins(logits: Float[Tensor, "q c"], labels: Int[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Margin log p / (1 - p) of the label under softmax: nearly linear in the parameters.

    Examples:
        >>> margins(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
        tensor([2.])
    """
    right = logits.gather(-1, labels[:, None])[:, 0]
    return right - logits.scatter(-1, labels[:, None], -torch.inf).logsumexp(-1)
