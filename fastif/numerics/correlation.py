"""How well predicted effects agree with what really happened."""

import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor


def pearson(left: Float[Tensor, "q c"], right: Float[Tensor, "q c"]) -> Float[Tensor, " q"]:
    """Pearson correlation of each row with its partner; NaN where one of them is constant.

    >>> pearson(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[2.0, 4.0, 8.0]])).round(decimals=6)
    tensor([1.], dtype=torch.float64)
    """
    if left.shape[1] == 0:
        return torch.full((len(left),), torch.nan, dtype=torch.float64)
    constant = (left.amin(1) == left.amax(1)) | (right.amin(1) == right.amax(1))
    left, right = (rows.double() - rows.double().mean(1, keepdim=True) for rows in (left, right))
    correlation = (left * right).sum(1) / (left.norm(dim=1) * right.norm(dim=1))
    return torch.where(constant, torch.nan, correlation).clamp(-1, 1)


def spearman(left: Float[Tensor, "q c"], right: Float[Tensor, "q c"]) -> Float[Tensor, " q"]:
    """Rank correlation of each row with its partner; equal values share their mean rank."""
    ranks = (torch.from_numpy(rankdata(rows.cpu().numpy(), axis=1)) for rows in (left, right))
    return pearson(*ranks)


def linear_datamodelling_score(
    removal_effect: Float[Tensor, "q n"],
    subsets: list[Int[Tensor, " _"]],
    outcomes: Float[Tensor, "m q"],
) -> Float[Tensor, " q"]:
    """Spearman correlation of summed effects with outcomes of retraining (Park and others, 2023).

    Args:
        removal_effect: of every training row on every query; positive = helpful.
        subsets: the training rows that each model was trained on.
        outcomes: of the queries under these models, the higher the better (a margin, say).

    >>> effect = torch.tensor([[1.0, 0.0, -1.0]])
    >>> subsets = [torch.tensor([0]), torch.tensor([1]), torch.tensor([2])]
    >>> linear_datamodelling_score(effect, subsets, torch.tensor([[0.9], [0.5], [0.1]])).round()
    tensor([1.], dtype=torch.float64)
    """
    summed = torch.stack([removal_effect[:, ids].sum(1) for ids in subsets], dim=1)
    return spearman(summed, outcomes.T)


def margins(logits: Float[Tensor, "q c"], labels: Int[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Log p / (1 - p) of the label under softmax: near linear in the parameters.

    >>> margins(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    tensor([2.])
    """
    right = logits.gather(-1, labels[:, None])[:, 0]
    return right - logits.scatter(-1, labels[:, None], -torch.inf).logsumexp(-1)
