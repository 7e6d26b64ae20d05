"""Boosted trees of a run: their scan of all training rows, and what is checked before it."""

from fastif import InputError
from fastif.trees.tree_objective import TreeObjective, TreeRows
from fastif.trees.tree_scan import TreeScan
from tasks.run.context import RunContext
from tasks.study.candidates import FullScanSection


def make_tree_scan(context: RunContext) -> TreeScan:
    """Return the scan of a run of boosted trees, cached.

    Raises:
        InputError: The method is not possible with so many rows.
    """

    def make() -> TreeScan:
        objective, candidates = context.objective, context.study.candidates
        assert isinstance(objective, TreeObjective)
        assert isinstance(candidates, FullScanSection)
        scan = TreeScan(objective, context.study.trees.method, candidates.keep)
        assert scan.attributor  # which refuses too many rows
        return scan

    return context.memo.get("tree scan", make)


def get_tree_queries(context: RunContext) -> TreeRows:
    """Return the queries of a run of boosted trees."""
    assert isinstance(context.query_examples, TreeRows)
    return context.query_examples


def check_tree_run(context: RunContext) -> None:
    """Check the targets of the queries, and the number of rows of the method.

    Raises:
        InputError: A query cannot be measured, or there are too many training rows.
    """
    queries, objective = get_tree_queries(context), make_tree_scan(context).objective
    outputs = objective.num_outputs
    invalid = objective.query_measure.find_invalid_targets(queries.labels, outputs)
    if invalid is not None:
        place = int(invalid[1].nonzero()[0])
        row = context.plan.inputs.queries.ids[place]
        remedy = "Correct it, or leave the row out."
        raise InputError("[queries] table", invalid[0], f"another target in row {row}", remedy)
