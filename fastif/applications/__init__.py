"""What influence and its neighbours are used for: wrong labels, and what training again says."""

from fastif.applications.bregman import proximal_response
from fastif.applications.canaries import Planted, Recall, plant, recall_of
from fastif.applications.correction import Corrected, Correction, correct
from fastif.applications.detector import Detector
from fastif.applications.encoding import compared, mean_pooled
from fastif.applications.features import joined, lexical, tabular
from fastif.applications.folds import folds
from fastif.applications.head import Head, calibrated, fit_head
from fastif.applications.neighbours import neighbours
from fastif.applications.refit import losses_of, minimised, refit
from fastif.applications.rows import DROPPED, UNSEEN, Rows, Trusted
from fastif.applications.sample import FEWEST, GONE, UNCLEAR, Drawn, Errors, Sample
from fastif.applications.suspicions import Suspicions
from fastif.applications.terms import tf_idf, trigrams
from fastif.applications.views import TEXT_MIXES, Views

__all__ = [
    "DROPPED",
    "FEWEST",
    "GONE",
    "TEXT_MIXES",
    "UNCLEAR",
    "UNSEEN",
    "Corrected",
    "Correction",
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
    "correct",
    "fit_head",
    "folds",
    "joined",
    "lexical",
    "losses_of",
    "mean_pooled",
    "minimised",
    "neighbours",
    "plant",
    "proximal_response",
    "recall_of",
    "refit",
    "tabular",
    "tf_idf",
    "trigrams",
]
