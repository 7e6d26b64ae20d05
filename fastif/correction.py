"""Error correction by influential training rows (Guo et al., 2021, section 6.3).

The failure set (`anchors`) consists of examples that the model gets wrong. Each step samples some
of them, ranks rows of a table by influence on them, and takes one gradient step on the most helpful
ones. The rows may be the training rows, or rows that the model was not trained on.
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
from fastif.data.targets import check_class_numbers
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, compute_loss_gradients
from fastif.models.objective import Objective
from fastif.models.parameters import Params

SELECTIONS = ("helpful", "harmful", "random", "anchors")
BATCH_SIZE = 32
"""Maximum number of examples whose gradients are in memory; overrides that of the tables."""


@dataclass(frozen=True)
class Correction:
    """Settings of an error correction.

    Attributes:
        steps: Number of gradient steps.
        anchors: Number of failure-set examples sampled for each step.
        rows: Number of rows in the batch of each step.
        pool: Number of randomly sampled rows that are ranked in each step; fewer are faster.
        learning_rate: Learning rate of Adam.
        by: Selection of the rows: `helpful` (most helpful to the sampled failures), or a baseline:
            `harmful`, `random`, or `anchors` (the failures themselves).
        seed: Random seed of all samples.
        balanced: Whether to match the label distribution of the sampled failures. The most helpful
            rows of a few failures often share one label; steps on them mostly move the class prior.

    Raises:
        InputError: A number is not positive, or `by` is unknown.
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
                raise InputError(name, "a number > 0", given, f"Raise {name}, or use its default.")
        if self.by not in SELECTIONS:
            raise InputError("by", f"one of {', '.join(SELECTIONS)}", self.by, "Choose one.")


@dataclass(frozen=True, eq=False)
class CorrectedModel:
    """Result of an error correction.

    Attributes:
        params: Corrected parameters by name.
        rows_used: Positions of the rows of each step, in the table, or in the failure set for
            `by="anchors"`.
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
    """Correct a model by gradient steps on the training rows most helpful to a failure set.

        g = mean gradient of the sampled failures
        removal effect of row z ∝ ∇L(z)ᵀ (H + λ I)⁻¹ g;  helpful rows have a positive one

    (Guo et al., 2021, section 6.3.) Gradients are those of the current parameters. The curvature
    stays at the trained parameters: it is factored once, and a few small steps hardly change it.
    The objective itself is not changed.

    Args:
        objective: Trained model with its loss.
        table: Rows to learn from.
        anchors: Failure set: labelled examples that the model gets wrong.
        solve: Function that returns (H + λI)⁻¹ b of a vector b, [1, p], at the trained parameters.
        settings: Number of steps and rows, selection, and seed.
        progress: Function called after each step with the number of finished steps.

    Returns:
        Corrected parameters, and the rows of each step.
    """
    table, anchors = table.with_batch_size(BATCH_SIZE), anchors.with_batch_size(BATCH_SIZE)
    current = copy.copy(objective)
    current.params = {
        name: tensor.detach().clone().requires_grad_() for name, tensor in objective.params.items()
    }
    optimiser = torch.optim.Adam(list(current.params.values()), lr=settings.learning_rate)
    detached = copy.copy(objective)  # one for all steps: its trial batch then runs only once
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
    """Return the rows of the pool for one step."""
    if settings.by == "random":
        return pool_ids[: settings.rows]
    gradients = Gradients(objective)
    mean_gradient = compute_loss_gradients(gradients, anchors, anchor_ids).mean(0, keepdim=True)
    candidates = Candidates(pool_ids.sort().values[None], torch.zeros(1, len(pool_ids)))
    influences = influence(gradients, table, solve(mean_gradient), candidates)
    harmful_first = influences.ids[0][
        influences.ids[0] != NO_EXAMPLE
    ]  # rows without a finite gradient have no influence
    order = harmful_first if settings.by == "harmful" else harmful_first.flip(0)
    if not settings.balanced:
        return order[: settings.rows]
    labels, anchor_labels = (
        batch["labels"].cpu() for batch in (table.take(order), anchors.take(anchor_ids))
    )
    check_class_numbers(torch.cat([labels, anchor_labels]), "balanced")
    return _balance_labels(order, labels, anchor_labels, settings.rows)


def _balance_labels(
    order: Int[Tensor, " m"],
    labels: Int[Tensor, " m"],
    anchor_labels: Int[Tensor, " a"],
    count: int,
) -> Int[Tensor, " r"]:
    """Select the first rows of each label, in the label distribution of the failures.

    Labels with too few rows are filled up with the first of the others.

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
