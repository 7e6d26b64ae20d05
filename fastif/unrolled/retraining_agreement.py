"""Agreement of effects through the training with real retrainings of the same seed and order."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.data.examples import Examples, all_ids
from fastif.models.objective import Objective
from fastif.models.parameters import Params
from fastif.numerics.correlation import pearson
from fastif.unrolled.check_record import check_record
from fastif.unrolled.replay import Replay
from fastif.unrolled.training_record import TrainingRecord

ROUGH_SHARE = 0.5
"""Share of the real changes that the effects leave open, above which a training is not smooth."""


@dataclass(frozen=True, eq=False)
class RetrainingAgreement:
    """Agreement of predicted with real changes of the queries' measures.

    Attributes:
        predicted: Sums [q m] of the removal effects of the rows that each retraining left out.
        measured: Real changes [q m] of the queries' measures.
        correlations: Pearson correlation [q] over the retrainings; NaN for fewer than three.
    """

    predicted: Float[Tensor, "q m"]
    measured: Float[Tensor, "q m"]
    correlations: Float[Tensor, " q"]

    @property
    def correlation(self) -> float:
        """Mean correlation over the queries where it is defined; NaN without any."""
        return float(self.correlations.nanmean())

    @property
    def open_share(self) -> float:
        """Share of the squared real changes that the prediction leaves open, about 0 to 1 or more.

            Σ (measured - predicted)² / Σ measured²

        0 where the training is linear in the weights of its rows.
        """
        total = float(self.measured.double().square().sum())
        rest = float((self.measured.double() - self.predicted.double()).square().sum())
        return rest / total if total else math.nan

    @property
    def is_smooth(self) -> bool:
        """Whether the derivative through the training predicts the real changes.

        False if the effects explain less than half of them: removals of this size then move the
        training to where its derivative no longer holds, as large learning rates do.
        """
        return self.open_share <= ROUGH_SHARE


def retrain_without(
    record: TrainingRecord, objective: Objective, examples: Examples, ids: Int[Tensor, " r"]
) -> Params:
    """Repeat a recorded training with weight 0 for some rows, and all else as it was.

    Seed, order, batches and their divisors, schedule and initial parameters stay the same.

    Args:
        record: Record of the training.
        objective: Model of the training.
        examples: Training rows.
        ids: Positions of the rows with weight 0.

    Returns:
        Parameters after the training, by name.
    """
    weights = torch.ones(record.count)
    weights[ids] = 0
    replay = Replay(record, objective, examples, weights)
    state = replay.load_state(0)
    for step in replay.iterate(state, record.num_steps):
        state = step.after
    return objective.space.unflatten(state.params)


def measure_agreement(
    record: TrainingRecord,
    objective: Objective,
    examples: Examples,
    queries: Examples,
    removal_effect: Float[Tensor, "q n"],
    subsets: Sequence[Int[Tensor, " _"]],
    progress: Callable[[int, int], None] | None = None,
) -> RetrainingAgreement:
    """Compare removal effects with retrainings of the same seed and order without some rows.

    Each retraining costs as much as the recorded training.

    Args:
        record: Record of the training.
        objective: Model at the final parameters, with the queries' measure.
        examples: The n training rows.
        queries: The q queries.
        removal_effect: Removal effects through the training; positive = helpful.
        subsets: Positions of the rows to leave out of each of the m retrainings.
        progress: Callback with the numbers of finished and of all retrainings.

    Raises:
        InputError: The record does not belong to the model or these rows.
    """
    check_record(record, objective, examples)
    before = _evaluate(objective, objective.params, queries)
    changes = []
    for count, ids in enumerate(subsets, start=1):
        params = retrain_without(record, objective, examples, ids)
        changes.append(_evaluate(objective, params, queries) - before)
        if progress:
            progress(count, len(subsets))
    predicted = torch.stack([removal_effect[:, ids].sum(1) for ids in subsets], 1)
    measured = torch.stack(changes, 1)
    defined = len(subsets) > 2
    correlations = pearson(predicted, measured) if defined else measured[:, 0].double() * math.nan
    return RetrainingAgreement(predicted, measured, correlations)


def draw_subsets(
    count: int, share: float, num_subsets: int, seed: int = 0
) -> list[Int[Tensor, " _"]]:
    """Draw random rows to leave out of each retraining, without replacement.

    Args:
        count: Number n of training rows.
        share: Share of the rows that each retraining leaves out, in (0, 1).
        num_subsets: Number of retrainings.
        seed: Random seed.

    Examples:
        >>> [len(ids) for ids in draw_subsets(100, 0.05, 2)]
        [5, 5]
    """
    generator = torch.Generator().manual_seed(seed)
    size = max(1, round(share * count))
    orders = (torch.randperm(count, generator=generator) for _ in range(num_subsets))
    return [order[:size].sort().values for order in orders]


@torch.no_grad()
def _evaluate(objective: Objective, params: Params, queries: Examples) -> Float[Tensor, " q"]:
    """Return the measure of each query."""
    values = objective.like.new_empty(len(queries))
    for places, batch in queries.batches(all_ids(queries)):
        outputs = objective.outputs(params, batch)
        values[places] = objective.query_measure(outputs, batch["labels"])
    return values
