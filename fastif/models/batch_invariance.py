"""Batch invariance: whether a row's outputs depend on the other rows of its batch."""

from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import COLUMN_WEIGHTS, Batch, Examples
from fastif.errors import InputError
from fastif.models.objective import Objective
from fastif.models.parameter_subset import ParameterSubset
from fastif.models.same_outputs import (
    ForwardFn,
    locate_difference,
    make_rounding_test,
    max_difference,
)
from fastif.numerics.spot_check import is_spot_check

ALWAYS_CHECKED_BATCHES = 4
"""Number of first batches that are all checked."""
GROWTH_FACTOR = 1.5
"""Factor by which a batch is larger than all checked ones, so that it is checked too."""
BATCH_ULPS = 1000.0
"""Difference in units in the last place that counts as rounding of a batch's outputs.

Matrix products of another size may sum in another order.
"""


MAX_WORK, MIN_TABLE_ROWS, MAX_TABLE_ROWS = 5e8, 16, 256
"""Limits of the check of a table: tokens x parameters, and fewest and most rows.

Many rows are checked, because a rare row may be the one that changes others.
"""


@dataclass
class _BatchHistory:
    """Number of batches that an objective has run, and the largest size that was checked."""

    num_batches: int = 0
    largest: int = 0

    def is_due(self, count: int) -> bool:
        """Whether a batch is checked: the first ones, larger ones, and a share of the others."""
        self.num_batches += 1
        sampled = is_spot_check(self.num_batches)
        due = (
            self.num_batches <= ALWAYS_CHECKED_BATCHES
            or sampled
            or count >= GROWTH_FACTOR * self.largest
        )
        self.largest = max(self.largest, count) if due else self.largest
        return due and count > 1


_histories: "WeakKeyDictionary[Objective, _BatchHistory]" = WeakKeyDictionary()


def get_full_objective(objective: Objective) -> Objective:
    """Return the objective of which a `ParameterSubset` is a part."""
    while isinstance(objective, ParameterSubset):
        objective = objective.full_objective
    return objective


@torch.no_grad()
def spot_check_batch(objective: Objective, batch: Batch, outputs: Tensor | None = None) -> None:
    """Refuse a batch with rows that have other outputs among fewer rows, in a spot check.

    A few rows cannot show effects of large batches, such as batch normalisation above a size or
    experts of limited capacity. Every other row is run again in reverse order, and the last row
    alone.

    Args:
        objective: Model to check.
        batch: Examples of a pass.
        outputs: Outputs of the model; computed if needed and left out.

    Raises:
        InputError: With the name of the module that causes the difference.
    """
    objective, count = get_full_objective(objective), len(batch["labels"])
    if not _histories.setdefault(objective, _BatchHistory()).is_due(count):
        return
    rows = {name: tensor for name, tensor in batch.items() if name != COLUMN_WEIGHTS}
    if outputs is None:
        outputs = objective.outputs(objective.params, rows)
    positions = torch.arange(count).flip(0)
    _compare_subsets(
        objective, rows, outputs.detach(), (positions[::2], positions[:1]), BATCH_ULPS, 1.0
    )


@torch.no_grad()
def check_table_invariance(objective: Objective, table: Examples) -> None:
    """Refuse a table with a row that has other outputs among other rows.

    Raises:
        InputError: With the name of the module that causes the difference.
    """
    cost = sum(p.numel() for p in objective.module.parameters()) * float(table.lengths.max())
    count = min(len(table), MAX_TABLE_ROWS, int(MAX_WORK / cost))
    if count < MIN_TABLE_ROWS:
        return  # the checks of early batches cover a short table
    ids = torch.linspace(0, len(table) - 1, count, dtype=torch.float64).long()
    order = ids[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    for places in order.split(32):
        batch = objective.compute_prefix(table.take(places))
        outputs, positions = objective.outputs(objective.params, batch), torch.arange(len(places))
        _compare_subsets(objective, batch, outputs, positions.flip(0).split(5), BATCH_ULPS, 1.0)


def check_batch_invariance(
    objective: Objective, batch: Batch, outputs: Float[Tensor, "b c"]
) -> None:
    """Refuse outputs of a row that differ alone, in pairs, or in reverse order."""
    positions = torch.arange(len(outputs))  # also in pairs: some layers refuse a single row
    if len(positions) > 1:
        _compare_subsets(
            objective, batch, outputs, (positions.flip(0), *positions.split(2), *positions.split(1))
        )


def _compare_subsets(
    objective: Objective,
    batch: Batch,
    outputs: Float[Tensor, "b c"],
    subsets: Iterable[Tensor],
    *limits: float,
) -> None:
    """Refuse outputs that differ if only a subset of the rows is run."""
    same, count = make_rounding_test(outputs, objective, *limits), len(outputs)

    def make_run(places: Tensor) -> ForwardFn:
        rows = {name: tensor[places.to(tensor.device)] for name, tensor in batch.items()}
        return lambda: objective.outputs(objective.params, rows)

    for places in subsets:
        subset_outputs, expected = make_run(places)(), outputs[places.to(outputs.device)]
        if same(subset_outputs, expected).all():
            continue
        cause = locate_difference(
            objective, make_run(torch.arange(count)), make_run(places), places, count
        )
        condition = "in another order" if len(places) == count else "without the other rows"
        raise InputError(
            cause,
            "outputs of a row that do not depend on the other rows of its batch",
            f"a difference of {max_difference(subset_outputs, expected):.1e} for a row {condition}",
            "Look for statistics or operations over the batch, such as batch normalisation without "
            "running statistics; use a model with outputs of a row that depend on this row only.",
        )
