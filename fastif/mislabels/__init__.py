"""Mislabel detection: out-of-fold probabilities, a noise transition matrix, and label posteriors.

`MislabelDetector` computes a `LabelPosterior` for `LabeledData`: the probability that each given
label is wrong, from cross-fitted classifiers on fixed features and a class-conditional noise model
fitted by maximum likelihood. `RandomAudit` estimates how many labels are wrong, with a confidence
sequence, from a random audit sample. `measure_flip_recall` measures the recall on injected label
flips.

`LabelSetDetector` does the same where a row has any number of labels, for each row and label, and
`OutlierDetector` finds outlying targets where they are numbers.
"""

from fastif.mislabels.audit_sample import AuditedRows, AuditSample
from fastif.mislabels.calibration import calibrate_logits
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.feature_views import FeatureViews
from fastif.mislabels.features import make_tabular_features
from fastif.mislabels.injected_flips import inject_flips, measure_flip_recall
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.label_set_errors import LabelSetData as LabelSetData
from fastif.mislabels.label_set_errors import LabelSetDetector as LabelSetDetector
from fastif.mislabels.label_set_errors import LabelSetErrors as LabelSetErrors
from fastif.mislabels.labeled_data import NO_LABEL_FITS, NOT_REVIEWED, LabeledData, TrustedData
from fastif.mislabels.linear_head import LinearHead, fit_linear_head
from fastif.mislabels.outlying_targets import NumberData as NumberData
from fastif.mislabels.outlying_targets import OutlierDetector as OutlierDetector
from fastif.mislabels.outlying_targets import OutlyingTargets as OutlyingTargets
from fastif.mislabels.random_audit import CountEstimate, RandomAudit
from fastif.mislabels.sampling_sizes import stratify_by_error
from fastif.mislabels.tfidf import char_trigrams, tf_idf

__all__ = [
    "NOT_REVIEWED",
    "NO_LABEL_FITS",
    "AuditSample",
    "AuditedRows",
    "CountEstimate",
    "FeatureViews",
    "LabelPosterior",
    "LabeledData",
    "LinearHead",
    "MislabelDetector",
    "RandomAudit",
    "TrustedData",
    "calibrate_logits",
    "char_trigrams",
    "fit_linear_head",
    "inject_flips",
    "make_tabular_features",
    "measure_flip_recall",
    "stratify_by_error",
    "tf_idf",
]
