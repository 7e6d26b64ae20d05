"""Checks of `fastif doctor` on boosted trees: their training repeated, and their predictions."""

from math import isnan
from types import MappingProxyType
from typing import Final

from fastif.trees.tree_objective import TreeObjective
from tasks.run.context import RunContext
from tasks.run.tree_run import check_tree_run


def describe_repeated_training(context: RunContext) -> str:
    """Describe how well the leaf values of the file follow from the training rows."""
    assert isinstance(context.objective, TreeObjective)
    deviation = context.objective.training.deviation
    if isnan(deviation):
        return "not compared: each tree was fitted to a sample of the rows, which is not known"
    return f"leaf values of the rows differ from the file's by {deviation:.1e} of the largest"


def describe_library(context: RunContext) -> str:
    """Describe how well the predictions are those of the library."""
    assert isinstance(context.objective, TreeObjective)
    difference = context.objective.difference
    if difference is None:
        return "not compared: it is not installed, or cannot be asked"
    return f"raw scores differ by {difference:.1e} at most"


def check_queries(context: RunContext) -> str:
    """Check the targets of the queries and the number of rows, as an audit does."""
    check_tree_run(context)
    return f"labels fit; effects are computed by the method {context.study.trees.method}"


TREE_CHECKS: Final = MappingProxyType(
    {
        "training repeated": describe_repeated_training,
        "predictions of the library": describe_library,
        "queries": check_queries,
    }
)
"""Checks of boosted trees alone, by name."""
