"""Losses of training and measures of queries, as functions of the model's outputs."""

from fastif.losses.binary_cross_entropy import BinaryCrossEntropy
from fastif.losses.binary_focal_loss import BinaryFocalLoss
from fastif.losses.cross_entropy import CrossEntropy, balanced_weights
from fastif.losses.entropy import Entropy
from fastif.losses.focal_loss import FocalLoss
from fastif.losses.huber import Huber
from fastif.losses.loss import Loss
from fastif.losses.measure import Measure
from fastif.losses.negative_margin import NegativeMargin
from fastif.losses.ordinal_cross_entropy import OrdinalCrossEntropy
from fastif.losses.sample_weighted import SampleWeighted, weight_targets
from fastif.losses.smooth_hinge import SmoothHinge
from fastif.losses.squared_error import SquaredError
from fastif.losses.token_cross_entropy import TokenCrossEntropy

__all__ = [
    "BinaryCrossEntropy",
    "BinaryFocalLoss",
    "CrossEntropy",
    "Entropy",
    "FocalLoss",
    "Huber",
    "Loss",
    "Measure",
    "NegativeMargin",
    "OrdinalCrossEntropy",
    "SampleWeighted",
    "SmoothHinge",
    "SquaredError",
    "TokenCrossEntropy",
    "balanced_weights",
    "weight_targets",
]
