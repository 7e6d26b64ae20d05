"""Boosted trees of a run: their scan of all training rows, and what is checked before it."""

from math import isnan

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


def make_tree_record(context: RunContext) -> dict[str, object]:
    """Return what was compared before the run, for its row of `runs`; empty for other models."""
    objective = context.objective
    if not isinstance(objective, TreeObjective):
        return {}
    training = objective.training
    deviation = None if isnan(training.deviation) else training.deviation
    compared = {"deviation": deviation, "difference": objective.difference}
    return {"trees": {**compared, "notes": list(training.notes)}}


def refuse_repeats(repeats: int | None) -> int:
    """Return the one repeat of boosted trees, for which no system is solved.

    Raises:
        InputError: More repeats are asked for.
    """
    if repeats in (None, 1):
        return 1
    expected = "1 for boosted trees, whose effects are exact"
    raise InputError("--repeats", expected, f"{repeats}", "Leave the option out.")
