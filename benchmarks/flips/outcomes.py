"""Outcome of one query: the claimed flip set, the first-order one and random sets, retrained."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

import fastif
from benchmarks.flips.subject import RowEdit, Subject
from fastif.attribution.edit_effects import EditEffects, compute_edit_effects
from fastif.data.relabeled_examples import RelabeledExamples

MAX_ROWS = 50


@dataclass(frozen=True)
class Outcome:
    """Prediction and truth of one query and one kind of edit; margins in logits.

    Attributes:
        query: Position of the query.
        relabel: Whether rows are relabelled, not removed.
        margin: Present margin against the runner-up.
        is_claimed: Whether a set of at most 50 rows is claimed to flip the prediction.
        size: Number of rows of the claimed set, or of the best set that does not.
        predicted: Predicted margin with it.
        converged: Norm of the gradient after the last Newton step, relative to the first.
        real: Margins after retraining with each seed.
        first_order_size: Size of the smallest set to first order; None beyond all rows.
        first_order_real: Margins after retraining with that set; None beyond 50 rows.
        random_real: Margins after retraining with random sets of the claimed size.
    """

    query: int
    relabel: bool
    margin: float
    is_claimed: bool
    size: int
    predicted: float
    converged: float | None
    real: list[float]
    first_order_size: int | None
    first_order_real: list[float] | None
    random_real: list[float]


def measure_query(subject: Subject, query: int, relabel: bool) -> Outcome:
    """Claim a flip set and check it by retraining."""
    attributor, queries = subject.attributor, subject.queries
    flip = fastif.find_flip_set(attributor, queries, query, relabel=relabel, max_rows=MAX_ROWS)

    def check(edit: RowEdit, seeds: tuple[int, ...] = subject.seeds) -> list[float]:
        return [margin_of(subject.retrain(edit, query, seed), flip.prediction) for seed in seeds]

    first = None
    if flip.first_order_size is not None and flip.first_order_size <= MAX_ROWS:
        first = check(_select_first_order(subject, query, flip, relabel))
    random = []
    for draw in range(subject.random_sets if flip.is_flip else 0):
        generator = torch.Generator().manual_seed(1000 * query + draw)
        edit = _draw_edit(subject, len(flip), relabel, generator)
        random += check(edit, subject.seeds[:1])
    return Outcome(
        query,
        relabel,
        flip.margin,
        flip.is_flip,
        len(flip),
        flip.corrected_margin,
        flip.response_residual,
        check(RowEdit(flip.ids, flip.new_labels)),
        flip.first_order_size,
        first,
        random,
    )


def margin_of(outputs: Float[Tensor, " c"], prediction: int) -> float:
    """Return the margin of a class against the largest other one."""
    others = outputs.detach().clone()
    others[prediction] = -torch.inf
    return float(outputs[prediction] - others.max())


def _select_first_order(
    subject: Subject, query: int, flip: fastif.FlipSet, relabel: bool
) -> RowEdit:
    """Return the smallest set whose effects add up to more than a margin."""
    objective, queries = subject.attributor.objective, subject.queries
    outputs = objective.outputs(objective.params, queries.take(torch.tensor([query])))[0].double()
    rivals = [rival for rival in range(len(outputs)) if rival != flip.prediction]
    predicted = RelabeledExamples(queries, torch.full((len(queries),), flip.prediction))
    effects = compute_edit_effects(
        subject.attributor, predicted, query, rivals, subject.labels, relabel
    )
    margins = (outputs[flip.prediction] - outputs[rivals]).tolist()
    sets = [_take_prefix(effects, place, margin) for place, margin in enumerate(margins)]
    return min(sets, key=lambda edit: len(edit.ids))


def _take_prefix(effects: EditEffects, place: int, margin: float) -> RowEdit:
    order = effects.values[place].argsort(descending=True, stable=True)
    totals = effects.values[place][order].clamp(min=0).cumsum(0)
    ids: Int[Tensor, " k"] = order[: int((totals <= margin).sum()) + 1]
    return RowEdit(ids, None if effects.labels is None else effects.labels[place][ids])


def _draw_edit(subject: Subject, size: int, relabel: bool, generator: torch.Generator) -> RowEdit:
    """Return random rows, to be removed, or relabelled to a random other label."""
    ids = torch.randperm(len(subject.labels), generator=generator)[:size]
    if not relabel:
        return RowEdit(ids, None)
    classes = int(subject.labels.max()) + 1
    shift = torch.randint(1, classes, (size,), generator=generator)
    return RowEdit(ids, (subject.labels[ids] + shift) % classes)
