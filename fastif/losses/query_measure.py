"""Query measures by name: what is explained of a prediction, with its unit and sign."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from fastif.losses.cross_entropy import CrossEntropy
from fastif.losses.entropy import Entropy
from fastif.losses.measure import Measure
from fastif.losses.negative_margin import NegativeMargin
from fastif.losses.squared_error import SquaredError


@dataclass(frozen=True)
class QueryMeasure:
    """Named measure of a query.

    Effects on any of them have one sign: positive if the measure becomes worse without the training
    row, which therefore is helpful. A loss and an entropy become worse as they rise, a log
    probability and a margin as they fall.

    Attributes:
        name: Name in the study file and in the store.
        function: Function of the outputs that rises as the measure becomes worse.
        factor: Factor ±1 that makes the measure from the function.
        unit: Unit of the measure and of the effects on it.
        needs_label: Whether its target is the given label; otherwise it is the predicted one.
        meaning: Meaning of a positive effect of a training row, as a sentence for users.
    """

    name: str
    function: Measure
    factor: int
    unit: str
    needs_label: bool
    meaning: str


LOSS: Final = QueryMeasure(
    "loss", CrossEntropy(), 1, "nats", True, "without the row the loss at the label would rise"
)
LOG_PROBABILITY: Final = QueryMeasure(
    "log-probability",
    CrossEntropy(),
    -1,
    "nats",
    False,
    "without the row the log probability of the predicted label would fall",
)
MARGIN: Final = QueryMeasure(
    "margin",
    NegativeMargin(),
    -1,
    "logits",
    False,
    "without the row the predicted label would lose margin against the runner-up",
)
ENTROPY: Final = QueryMeasure(
    "entropy", Entropy(), 1, "nats", False, "without the row the prediction would be less certain"
)
SQUARED_ERROR: Final = QueryMeasure(
    "squared-error",
    SquaredError(),
    1,
    "squared units",
    True,
    "without the row the squared error would rise",
)
HUBER_LOSS: Final = replace(
    SQUARED_ERROR, name="huber-loss", meaning="without the row the Huber loss would rise"
)
"""Measures of numbers, which no study file names: they follow from its target and loss."""

QUERY_MEASURES: Final[Mapping[str, QueryMeasure]] = MappingProxyType(
    {measure.name: measure for measure in (LOSS, LOG_PROBABILITY, MARGIN, ENTROPY)}
)
"""Query measures of this module by name."""
