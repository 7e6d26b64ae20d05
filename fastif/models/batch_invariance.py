"""Company: whether the outputs of a row are the same alone, in another order, in a crowd."""

from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Batch, Examples
from fastif.errors import InputError
from fastif.gradients.hooks import MIX
from fastif.gradients.route import GOLDEN, SHARE
from fastif.models.objective import Objective
from fastif.models.parameter_subset import Subset
from fastif.models.same_outputs import (
    Run,
    alike,
    blame,
    gap,
)

EARLY = 4
"""Batches that are all tried."""
LARGER = 1.5
"""A batch is tried if it is so many times as large as those tried before."""
UNITS = 1000.0
"""Units in the last place, of the usual outputs of a batch, that are rounding in any batch of it:
matrix products of another size may add up in another order."""


WORK, LEAST, MOST = 5e8, 16, 256
"""Rows of a table that are tried in company: as many as this work allows, tokens times parameters;
a rare row may be the one that changes others."""


@dataclass
class _Met:
    """How many batches an objective has met, and the size of the largest that was tried."""

    batches: int = 0
    largest: int = 0

    def is_due(self, count: int) -> bool:
        """Whether a batch is tried: the first ones, larger ones, and a share of the others."""
        self.batches += 1
        drawn = (self.batches * GOLDEN) % 1.0 < 1 / SHARE
        due = self.batches <= EARLY or drawn or count >= LARGER * self.largest
        self.largest = max(self.largest, count) if due else self.largest
        return due and count > 1


_met: "WeakKeyDictionary[Objective, _Met]" = WeakKeyDictionary()


def whole_of(objective: Objective) -> Objective:
    """The objective that others are a part of."""
    while isinstance(objective, Subset):
        objective = objective.whole
    return objective


@torch.no_grad()
def try_crowd(objective: Objective, batch: Batch, outputs: Tensor | None = None) -> None:
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
    objective, count = whole_of(objective), len(batch["labels"])
    if not _met.setdefault(objective, _Met()).is_due(count):
        return
    rows = {name: tensor for name, tensor in batch.items() if name != MIX}
    if outputs is None:
        outputs = objective.outputs(objective.params, rows)
    every = torch.arange(count).flip(0)
    _compare(objective, rows, outputs.detach(), (every[::2], every[:1]), UNITS, 1.0)


@torch.no_grad()
def check_many(objective: Objective, table: Examples) -> None:
    """Refuse a table of which some row among many has other outputs in other company.

    Raises:
        InputError: naming the module that is the cause.
    """
    cost = sum(p.numel() for p in objective.module.parameters()) * float(table.lengths.max())
    count = min(len(table), MOST, int(WORK / cost))
    if count < LEAST:
        return  # the early batches show them all
    ids = torch.linspace(0, len(table) - 1, count, dtype=torch.float64).long()
    order = ids[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    for places in order.split(32):
        batch = objective.prefix(table.take(places))
        outputs, every = objective.outputs(objective.params, batch), torch.arange(len(places))
        _compare(objective, batch, outputs, every.flip(0).split(5), UNITS, 1.0)


def check_company(objective: Objective, batch: Batch, outputs: Float[Tensor, "b c"]) -> None:
    """Refuse outputs of a row that are others alone or in another order."""
    every = torch.arange(len(outputs))  # in pairs too: some layers refuse to see a row by itself
    if len(every) > 1:
        _compare(objective, batch, outputs, (every.flip(0), *every.split(2), *every.split(1)))


def _compare(
    objective: Objective,
    batch: Batch,
    outputs: Float[Tensor, "b c"],
    parts: Iterable[Tensor],
    *limits: float,
) -> None:
    """Refuse outputs that are others where only a part of the rows is run."""
    same, count = alike(outputs, objective, *limits), len(outputs)

    def part(places: Tensor) -> Run:
        rows = {name: tensor[places.to(tensor.device)] for name, tensor in batch.items()}
        return lambda: objective.outputs(objective.params, rows)

    for places in parts:
        found, expected = part(places)(), outputs[places.to(outputs.device)]
        if same(found, expected).all():
            continue
        cause = blame(objective, part(torch.arange(count)), part(places), places, count)
        company = "in another order" if len(places) == count else "without them"
        raise InputError(
            cause,
            "outputs of a row that do not depend on the other rows of its batch",
            f"a difference of {gap(found, expected):.1e} where a row is {company}",
            "Look for statistics or operations over the batch, such as batch normalisation without "
            "running statistics; take a model that treats each row by itself.",
        )
