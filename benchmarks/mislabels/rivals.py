"""Label error scores of other methods, on the encoder features with a logistic head."""

from importlib.util import find_spec

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.mislabels.corpora import Corpus

METHODS = (
    ("self_confidence", False),
    ("self_confidence", True),
    ("normalized_margin", False),
    ("normalized_margin", True),
    ("confidence_weighted_entropy", False),
)
"""Scores of cleanlab, each with or without class-wise adjustment; the last one has none."""


def rivals(corpus: Corpus) -> dict[str, Tensor]:
    """Return scores by name; larger for labels that are more likely wrong."""
    x, y = corpus.embedded.numpy(), corpus.rows.labels.numpy()
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    parts = StratifiedKFold(5, shuffle=True, random_state=0)
    crossed = cross_val_predict(head, x, y, cv=parts, method="predict_proba")
    fitted = head.fit(x, y).predict_proba(x)
    place = np.arange(len(y))
    scores = {
        "loss of a head that has seen the row": -np.log(fitted[place, y] + 1e-12),
        "5-fold loss": -np.log(crossed[place, y] + 1e-12),
    }
    if find_spec("cleanlab"):
        scores |= _score_by_cleanlab(y, crossed)
    return {name: torch.from_numpy(np.asarray(score)) for name, score in scores.items()}


def _score_by_cleanlab(labels: np.ndarray, crossed: np.ndarray) -> dict[str, np.ndarray]:
    """Return all label quality scores of cleanlab, negated, and those of its Datalab."""
    from cleanlab.rank import get_label_quality_scores

    scores = {
        f"cleanlab, {method.replace('_', ' ')}{', adjusted' if adjusted else ''}": (
            -get_label_quality_scores(labels, crossed, method=method, adjust_pred_probs=adjusted)
        )
        for method, adjusted in METHODS
    }
    if find_spec("datasets"):  # which Datalab needs
        from cleanlab import Datalab

        lab = Datalab({"label": labels}, label_name="label", verbosity=0)
        lab.find_issues(pred_probs=crossed, issue_types={"label": {}})
        scores["cleanlab, Datalab"] = -lab.get_issues("label")["label_score"].to_numpy()
    return scores
