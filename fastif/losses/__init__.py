"""What training minimises and what a query is judged by, as functions of the outputs."""

from fastif.losses.binary_cross_entropy import BinaryCrossEntropy
from fastif.losses.cross_entropy import CrossEntropy, balanced_weights
from fastif.losses.loss import Loss
from fastif.losses.measure import Measure
from fastif.losses.smooth_hinge import SmoothHinge
from fastif.losses.squared_error import SquaredError

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Loss",
    "Measure",
    "SmoothHinge",
    "SquaredError",
    "balanced_weights",
]
