"""A model repaired by the training rows that would help it most (Guo and others, 2021, 6.3).

Anchors are examples of what goes wrong. A step draws some of them, asks which rows of a table are
the most helpful to these, and takes one gradient step on those rows; and so again. The rows may be
those that the model was trained on, or rows that it has never seen.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.influence import UNSEEN, influence
from fastif.candidates import Candidates
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, gradient_rows
from fastif.models.objective import Objective
from fastif.models.parameters import Params

BY = ("helpful", "harmful", "random", "anchors")
BATCH = 32


@dataclass(frozen=True)
class Correction:
    """How a model is repaired.

    Attributes:
        steps: gradient steps.
        anchors: drawn for each step.
        rows: that a step is taken on.
        pool: rows that are looked at for each step, drawn at random; fewer are faster.
        learning_rate: of Adam.
        by: which rows: those most helpful to the anchors, most harmful, random ones, or the anchors
            themselves. All but the first are there to compare with.
        seed: of what is drawn.
        balanced: whether as many rows of each label are taken as its share of the anchors. The rows
            most helpful to a few anchors are often all of one label; steps on them move what the
            model expects before it has read, and little else.

    Raises:
        InputError: a number is not positive, or `by` is none of these.
    """

    steps: int = 10
    anchors: int = 10
    rows: int = 10
    pool: int = 1000
    learning_rate: float = 1e-4
    by: str = "helpful"
    seed: int = 0
    balanced: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "anchors", "rows", "pool", "learning_rate"):
            if not getattr(self, name) > 0:
                got = f"{getattr(self, name)}"
                raise InputError(name, "a number > 0", got, f"Leave {name} out, or raise it.")
        if self.by not in BY:
            raise InputError("by", f"one of {', '.join(BY)}", self.by, "Choose one.")


@dataclass(frozen=True, eq=False)
class Corrected:
    """A repaired model.

    Attributes:
        params: its parameters.
        taken: the rows that each step was taken on, positions in the table; of anchors theirs.
    """

    params: Params
    taken: Sequence[Int[Tensor, " r"]]


def correct(
    objective: Objective,
    table: Examples,
    anchors: Examples,
    solve: Callable[[Float[Tensor, "1 p"]], Float[Tensor, "1 p"]],
    how: Correction,
    progress: Callable[[int], object] = lambda step: None,
) -> Corrected:
    """The objective's parameters after the steps; the objective itself stays as it is.

    Gradients are those of the parameters as they then are. The curvature is that of the trained
    ones throughout: it is factored once, and ten small steps hardly change it.

    Args:
        objective: the trained model.
        table: rows to learn from.
        anchors: labelled examples of what goes wrong.
        solve: (H + λI)⁻¹ of a row, at the trained parameters.
        how: steps, numbers and seed.
        progress: is told of every step.
    """
    now = copy.copy(objective)
    now.params = {
        name: tensor.detach().clone().requires_grad_() for name, tensor in objective.params.items()
    }
    optimiser = torch.optim.Adam(list(now.params.values()), lr=how.learning_rate)
    generator = torch.Generator().manual_seed(how.seed)
    taken = []
    for step in range(how.steps):
        asked = _drawn(len(anchors), how.anchors, generator)
        pool = _drawn(len(table), how.pool, generator)
        source, rows = (anchors, asked)
        if how.by != "anchors":
            source, rows = table, _chosen(now, table, pool, anchors, asked, solve, how)
        loss = now.losses(now.params, source.take(rows)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        taken.append(rows)
        progress(step + 1)
    return Corrected({name: tensor.detach() for name, tensor in now.params.items()}, taken)


def _chosen(
    now: Objective,
    table: Examples,
    pool: Tensor,
    anchors: Examples,
    asked: Tensor,
    solve: Callable[[Tensor], Tensor],
    how: Correction,
) -> Tensor:
    """The rows of the pool that a step is taken on."""
    if how.by == "random":
        return pool[: how.rows]
    held = copy.copy(now)
    held.params = {name: tensor.detach() for name, tensor in now.params.items()}
    gradients = Gradients(held)
    b = gradient_rows(gradients, anchors, asked, BATCH).mean(0, keepdim=True)
    candidates = Candidates(pool.sort().values[None], torch.zeros(1, len(pool)))
    found = influence(gradients, table, solve(b), candidates, batch_size=BATCH)
    harmful_first = found.ids[0][found.ids[0] != UNSEEN]  # a row without a finite gradient has none
    order = harmful_first if how.by == "harmful" else harmful_first.flip(0)
    if not how.balanced:
        return order[: how.rows]
    labels, wanted = (some["labels"].cpu() for some in (table.take(order), anchors.take(asked)))
    return _by_label(order, labels, wanted, how.rows)


def _by_label(
    order: Int[Tensor, " m"], labels: Int[Tensor, " m"], wanted: Int[Tensor, " a"], count: int
) -> Int[Tensor, " r"]:
    """The first of each label in the shares that labels have among the wanted ones.

    What a label has too few of is filled up with the first of the others.

    >>> order, labels = torch.tensor([9, 8, 7, 6]), torch.tensor([1, 1, 1, 0])
    >>> _by_label(order, labels, torch.tensor([0, 1]), 2).tolist()
    [9, 6]
    """
    names, counts = wanted.unique(return_counts=True)
    exact = counts * count / len(wanted)
    quota = exact.floor().long()
    short = count - int(quota.sum())
    quota[(exact - quota).argsort(descending=True, stable=True)[:short]] += 1
    first = torch.zeros(len(order), dtype=torch.bool)
    for name, some in zip(names, quota.tolist(), strict=True):
        first[(labels == name).nonzero()[:some, 0]] = True
    rest = (~first).nonzero()[: count - int(first.sum()), 0]
    first[rest] = True
    return order[first]


def _drawn(count: int, some: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=generator)[:some]
