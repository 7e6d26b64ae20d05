"""Mislabel detection: out-of-fold probabilities, a noise model, and a posterior for each label."""

from fastif.mislabels.detector import Detector
from fastif.mislabels.feature_views import TEXT_MIXES, Views
from fastif.mislabels.features import joined, lexical, tabular
from fastif.mislabels.group_folds import folds
from fastif.mislabels.injected_flips import (
    Planted,
    Recall,
    plant,
    recall_of,
)
from fastif.mislabels.knn import neighbours
from fastif.mislabels.label_posterior import Suspicions
from fastif.mislabels.labeled_data import (
    DROPPED,
    UNSEEN,
    Rows,
    Trusted,
)
from fastif.mislabels.linear_head import Head, calibrated, fit_head
from fastif.mislabels.random_audit import (
    FEWEST,
    GONE,
    UNCLEAR,
    Drawn,
    Errors,
    Sample,
)
from fastif.mislabels.text_embeddings import compared, mean_pooled
from fastif.mislabels.tfidf import tf_idf, trigrams

__all__ = [
    "DROPPED",
    "FEWEST",
    "GONE",
    "TEXT_MIXES",
    "UNCLEAR",
    "UNSEEN",
    "Detector",
    "Drawn",
    "Errors",
    "Head",
    "Planted",
    "Recall",
    "Rows",
    "Sample",
    "Suspicions",
    "Trusted",
    "Views",
    "calibrated",
    "compared",
    "fit_head",
    "folds",
    "joined",
    "lexical",
    "mean_pooled",
    "neighbours",
    "plant",
    "recall_of",
    "tabular",
    "tf_idf",
    "trigrams",
]
