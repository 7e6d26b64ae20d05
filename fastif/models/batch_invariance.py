"""Company: whether the outputs of a row are the same alone, in another order, in a crowd."""

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
"""Batches that are all tried."""
GROWTH_FACTOR = 1.5
"""A batch is tried if it is so many times as large as those tried before."""
BATCH_ULPS = 1000.0
"""Units in the last place, of the usual outputs of a batch, that are rounding in any batch of it:
matrix products of another size may add up in another order."""


MAX_WORK, MIN_TABLE_ROWS, MAX_TABLE_ROWS = 5e8, 16, 256
"""Rows of a table that are tried in company: as many as this work allows, tokens times parameters;
a rare row may be the one that changes others."""


@dataclass
class _BatchHistory:
    """How many batches an objective has met, and the size of the largest that was tried."""

    num_batches: int = 0
    largest: int = 0

    def is_due(self, count: int) -> bool:
        """Whether a batch is tried: the first ones, larger ones, and a share of the others."""
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
    """The objective that others are a part of."""
    while isinstance(objective, ParameterSubset):
        objective = objective.full_objective
    return objective


@torch.no_grad()
def spot_check_batch(objective: Objective, batch: Batch, outputs: Tensor | None = None) -> None:
    """Refuse batches as they come, now and then, whose rows have other outputs among fewer rows.

    A few rows cannot show what sets in with many: a normalisation of large batches, experts of
    limited capacity. Every other row is run again, in reverse, and the last by itself.

    Args:
        objective: the model.
        batch: as it is used.
        outputs: the model's; computed where they are due if left out.

    Raises:
        InputError: naming the module that is the cause.
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
    """Refuse a table of which some row among many has other outputs in other company.

    Raises:
        InputError: naming the module that is the cause.
    """
    cost = sum(p.numel() for p in objective.module.parameters()) * float(table.lengths.max())
    count = min(len(table), MAX_TABLE_ROWS, int(MAX_WORK / cost))
    if count < MIN_TABLE_ROWS:
        return  # the early batches show them all
    ids = torch.linspace(0, len(table) - 1, count, dtype=torch.float64).long()
    order = ids[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    for places in order.split(32):
        batch = objective.compute_prefix(table.take(places))
        outputs, positions = objective.outputs(objective.params, batch), torch.arange(len(places))
        _compare_subsets(objective, batch, outputs, positions.flip(0).split(5), BATCH_ULPS, 1.0)


def check_batch_invariance(
    objective: Objective, batch: Batch, outputs: Float[Tensor, "b c"]
) -> None:
    """Refuse outputs of a row that are others alone or in another order."""
    positions = torch.arange(
        len(outputs)
    )  # in pairs too: some layers refuse to see a row by itself
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
    """Refuse outputs that are others where only a part of the rows is run."""
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
        condition = "in another order" if len(places) == count else "without them"
        raise InputError(
            cause,
            "outputs of a row that do not depend on the other rows of its batch",
            f"a difference of {max_difference(subset_outputs, expected):.1e} where a row is "
            f"{condition}",
            "Look for statistics or operations over the batch, such as batch normalisation without "
            "running statistics; take a model that treats each row by itself.",
        )
