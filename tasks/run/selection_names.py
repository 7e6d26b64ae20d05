"""Names of the kinds of selected settings in a store, without their content."""

from enum import StrEnum


class SelectionName(StrEnum):
    """Kind of an artifact with a selected setting."""

    DAMPING = "damping"
    METHOD = "method"
    ROWS = "rows"
    BUDGET = "budget"
    AGREEMENT = "agreement"
    K = "candidates"
    ESTIMATOR = "estimator"
    PRECISION = "precision"
