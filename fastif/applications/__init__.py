"""What influence and its neighbours are used for: finding labels that are wrong."""

from fastif.applications.canaries import Planted, Recall, plant, recall_of
from fastif.applications.detector import Detector
from fastif.applications.encoding import compared, mean_pooled
from fastif.applications.features import joined, lexical, tabular
from fastif.applications.folds import folds
from fastif.applications.head import Head, calibrated, fit_head
from fastif.applications.neighbours import neighbours
from fastif.applications.rows import DROPPED, UNSEEN, Rows, Trusted
from fastif.applications.suspicions import Errors, Suspicions

__all__ = [
    "DROPPED",
    "UNSEEN",
    "Detector",
    "Errors",
    "Head",
    "Planted",
    "Recall",
    "Rows",
    "Suspicions",
    "Trusted",
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
]
