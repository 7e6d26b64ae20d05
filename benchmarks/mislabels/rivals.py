"""Label error scores of other methods, on the encoder features with a logistic head."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.mislabels.corpora import Corpus


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
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        pass
    else:
        for method in ("self_confidence", "normalized_margin"):
            quality = get_label_quality_scores(y, crossed, method=method)
            scores[f"cleanlab, {method.replace('_', ' ')}"] = -quality
    return {name: torch.from_numpy(np.asarray(score)) for name, score in scores.items()}
