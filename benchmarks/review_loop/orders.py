"""Orders of the review by cleanlab, on out-of-fold probabilities of the same encoder."""

from importlib.util import find_spec

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

FOLDS = 5
SCORES = {
    "cleanlab, self-confidence": ("self_confidence", False),
    "cleanlab, adjusted margin": ("normalized_margin", True),
}
"""Label quality scores of cleanlab by name: method, and whether it is adjusted by class."""


def order_by_cleanlab(features: Tensor, labels: Tensor, folds: int = FOLDS) -> dict[str, Tensor]:
    """Return the positions of the rows by each score, the most doubtful first; empty without it.

    The probabilities are of a logistic regression on standardised features, by cross-validation
    in stratified folds.

    Args:
        features: Mean encoder outputs, [n d].
        labels: Given labels, [n].
        folds: Number of folds.
    """
    if not find_spec("cleanlab"):
        return {}
    from cleanlab.rank import get_label_quality_scores

    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    given = labels.numpy()
    crossed = cross_val_predict(head, features.numpy(), given, cv=parts, method="predict_proba")
    orders = {}
    for name, (method, is_adjusted) in SCORES.items():
        quality = get_label_quality_scores(
            given, crossed, method=method, adjust_pred_probs=is_adjusted
        )
        orders[name] = torch.from_numpy(quality).argsort(stable=True)
    return orders


def order_randomly(count: int, seed: int = 0) -> Tensor:
    """Return a random order of the rows."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
