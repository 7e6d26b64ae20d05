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

from fastif.attribution.influence import NO_EXAMPLE, influence
from fastif.candidates import Candidates
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, compute_loss_gradients
from fastif.models.objective import Objective
from fastif.models.parameters import Params

SELECTIONS = ("helpful", "harmful", "random", "anchors")
BATCH_SIZE = 32
"""Examples whose gradients are held at once, whatever the tables' own."""


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
                given = f"{getattr(self, name)}"
                raise InputError(name, "a number > 0", given, f"Leave {name} out, or raise it.")
        if self.by not in SELECTIONS:
            raise InputError("by", f"one of {', '.join(SELECTIONS)}", self.by, "Choose one.")


@dataclass(frozen=True, eq=False)
class CorrectedModel:
    """A repaired model.

    Attributes:
        params: its parameters.
        rows_used: the rows that each step was taken on, positions in the table; of anchors theirs.
    """

    params: Params
    rows_used: Sequence[Int[Tensor, " r"]]


def correct(
    objective: Objective,
    table: Examples,
    anchors: Examples,
    solve: Callable[[Float[Tensor, "1 p"]], Float[Tensor, "1 p"]],
    settings: Correction,
    progress: Callable[[int], object] = lambda step: None,
) -> CorrectedModel:
    """The objective's parameters after the steps; the objective itself stays as it is.

    Gradients are those of the parameters as they then are. The curvature is that of the trained
    ones throughout: it is factored once, and ten small steps hardly change it.

    Args:
        objective: the trained model.
        table: rows to learn from.
        anchors: labelled examples of what goes wrong.
        solve: (H + λI)⁻¹ of a row, at the trained parameters.
        settings: steps, numbers and seed.
        progress: is told of every step.
    """
    table, anchors = table.with_batch_size(BATCH_SIZE), anchors.with_batch_size(BATCH_SIZE)
    current = copy.copy(objective)
    current.params = {
        name: tensor.detach().clone().requires_grad_() for name, tensor in objective.params.items()
    }
    optimiser = torch.optim.Adam(list(current.params.values()), lr=settings.learning_rate)
    detached = copy.copy(objective)  # one for all steps: the model is tried once, not at each
    generator = torch.Generator().manual_seed(settings.seed)
    rows_used = []
    for step in range(settings.steps):
        detached.params = {name: tensor.detach() for name, tensor in current.params.items()}
        anchor_ids = _sample_ids(len(anchors), settings.anchors, generator)
        pool_ids = _sample_ids(len(table), settings.pool, generator)
        source, rows = anchors, anchor_ids
        if settings.by != "anchors":
            source = table
            rows = _select_rows(detached, table, pool_ids, anchors, anchor_ids, solve, settings)
        loss = current.losses(current.params, source.take(rows)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rows_used.append(rows)
        progress(step + 1)
    return CorrectedModel(
        {name: tensor.detach() for name, tensor in current.params.items()}, rows_used
    )


def _select_rows(
    objective: Objective,
    table: Examples,
    pool_ids: Tensor,
    anchors: Examples,
    anchor_ids: Tensor,
    solve: Callable[[Tensor], Tensor],
    settings: Correction,
) -> Tensor:
    """The rows of the pool that a step is taken on."""
    if settings.by == "random":
        return pool_ids[: settings.rows]
    gradients = Gradients(objective)
    mean_gradient = compute_loss_gradients(gradients, anchors, anchor_ids).mean(0, keepdim=True)
    candidates = Candidates(pool_ids.sort().values[None], torch.zeros(1, len(pool_ids)))
    influences = influence(gradients, table, solve(mean_gradient), candidates)
    harmful_first = influences.ids[0][
        influences.ids[0] != NO_EXAMPLE
    ]  # a row without a finite gradient has none
    order = harmful_first if settings.by == "harmful" else harmful_first.flip(0)
    if not settings.balanced:
        return order[: settings.rows]
    labels, anchor_labels = (
        batch["labels"].cpu() for batch in (table.take(order), anchors.take(anchor_ids))
    )
    return _balance_labels(order, labels, anchor_labels, settings.rows)


def _balance_labels(
    order: Int[Tensor, " m"],
    labels: Int[Tensor, " m"],
    anchor_labels: Int[Tensor, " a"],
    count: int,
) -> Int[Tensor, " r"]:
    """The first of each label in the shares that labels have among the wanted ones.

    What a label has too few of is filled up with the first of the others.

    >>> order, labels = torch.tensor([9, 8, 7, 6]), torch.tensor([1, 1, 1, 0])
    >>> _balance_labels(order, labels, torch.tensor([0, 1]), 2).tolist()
    [9, 6]
    """
    names, counts = anchor_labels.unique(return_counts=True)
    exact = counts * count / len(anchor_labels)
    quota = exact.floor().long()
    remainder = count - int(quota.sum())
    quota[(exact - quota).argsort(descending=True, stable=True)[:remainder]] += 1
    selected = torch.zeros(len(order), dtype=torch.bool)
    for name, label_quota in zip(names, quota.tolist(), strict=True):
        selected[(labels == name).nonzero()[:label_quota, 0]] = True
    filler = (~selected).nonzero()[: count - int(selected.sum()), 0]
    selected[filler] = True
    return order[selected]


def _sample_ids(count: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=generator)[:size]
