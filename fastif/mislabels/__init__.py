"""Mislabel detection: out-of-fold probabilities, a noise model, and a posterior for each label."""

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.feature_views import TEXT_WEIGHTS, FeatureViews
from fastif.mislabels.features import compute_lsa, concat_views, make_tabular_features
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.injected_flips import (
    FlipRecall,
    InjectedFlips,
    inject_flips,
    measure_flip_recall,
)
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import (
    NO_LABEL_FITS,
    NOT_REVIEWED,
    LabeledData,
    TrustedData,
)
from fastif.mislabels.linear_head import LinearHead, calibrate_logits, fit_linear_head
from fastif.mislabels.random_audit import (
    MIN_AUDITED,
    REMOVED_ROW,
    UNCLEAR,
    AuditedRows,
    CountEstimate,
    RandomAudit,
)
from fastif.mislabels.text_embeddings import make_pair_features, mean_pool
from fastif.mislabels.tfidf import char_trigrams, tf_idf

__all__ = [
    "MIN_AUDITED",
    "NOT_REVIEWED",
    "NO_LABEL_FITS",
    "REMOVED_ROW",
    "TEXT_WEIGHTS",
    "UNCLEAR",
    "AuditedRows",
    "CountEstimate",
    "FeatureViews",
    "FlipRecall",
    "InjectedFlips",
    "LabelPosterior",
    "LabeledData",
    "LinearHead",
    "MislabelDetector",
    "RandomAudit",
    "TrustedData",
    "assign_group_folds",
    "calibrate_logits",
    "char_trigrams",
    "compute_lsa",
    "concat_views",
    "find_neighbours",
    "fit_linear_head",
    "inject_flips",
    "make_pair_features",
    "make_tabular_features",
    "mean_pool",
    "measure_flip_recall",
    "tf_idf",
]
