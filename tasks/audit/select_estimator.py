"""Selection of the damping and of the estimator by retraining on random halves."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from prefect.logging import get_logger
from torch import Tensor

from fastif import InputError
from fastif.candidates import ExhaustiveSearch
from fastif.evaluation.estimator import COSINE
from fastif.evaluation.model_trial import ModelTrial, try_model
from fastif.evaluation.retraining_predictor import MAX_GRAM_ROWS, HalfSubset
from fastif.evaluation.row_effects import RowEffects, combine_row_effects, measure_norms
from fastif.evaluation.select_damping import DampingSelection, find_clearly_worse
from fastif.evaluation.select_estimator import (
    POWERS,
    EstimatorSelection,
    list_estimators,
    predict_outcomes,
    select_estimator,
)
from fastif.solvers import Factor, Spectral
from fastif.unrolled.training_record import TrainingRecord
from tasks.audit.prepare import compute_factor, store_factor
from tasks.planning.workload import make_solver_problem
from tasks.run.artifact_keys import (
    damping_digest,
    ekfac_digest,
    estimator_digest,
    factor_digest,
)
from tasks.run.artifacts import read_factor
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.curvature import make_gauss_newton
from tasks.run.hidden_states import get_train_examples
from tasks.run.row_norms import write_row_norms
from tasks.run.selections import DAMPING, ESTIMATOR
from tasks.run.unrolled import make_unrolled_attributor
from tasks.runtime.progress import progress_bar


def select_by_retraining(
    context: RunContext,
    query_ids: Tensor,
    halves: Sequence[HalfSubset],
    outcomes: Tensor,
    record: TrainingRecord | None = None,
) -> None:
    """Select the damping of every model, then the estimator, and store both.

    The row norms of the selected ranking come first: a selection is complete once it is stored.

    Args:
        context: Context of the run.
        query_ids: Positions of the queries under the retrained models.
        halves: Positions of the training rows of each retrained model.
        outcomes: Margins of these queries under each retrained model, [halves, queries].
        record: Record of the training if effects through it are tried; else None.
    """
    is_open = context.study.estimator.is_open
    factors = [find_dual_factor(member) for member in context.members]
    trials = [
        try_model(
            make_gauss_newton(member, get_train_examples(member)),
            member.query_examples.subset(query_ids),
            halves,
            outcomes,
            approximate=member.solver.ekfac_solver,
            factor=factor,
            with_effects=is_open,
        )
        for member, factor in zip(context.members, factors, strict=True)
    ]
    choices = [trial.damping for trial in trials]
    for member, choice in zip(context.members, choices, strict=True):
        DAMPING.write(context.store, damping_digest(member), choice)
    if is_open:
        models = [trial.effects for trial in trials if trial.effects is not None]
        ekfac = _try_ekfac(context, query_ids, halves, outcomes)
        if ekfac is not None and ekfac.effects is not None:
            models[0] = replace(models[0], ekfac=ekfac.effects.effects)
        if record is not None:
            unrolled = _compute_unrolled_effects(context, query_ids, record)
            models[0] = replace(models[0], unrolled=unrolled)
        selection = _select_estimator(context, choices, ekfac, models, halves, outcomes)
        digest = estimator_digest(context)
        if selection.estimator.is_normalized:
            effects = combine_row_effects(selection.estimator, models)
            write_row_norms(context.store, digest, measure_norms(effects))
        ESTIMATOR.write(context.store, digest, selection)
    _keep_factors(context, factors)


def find_dual_factor(member: RunContext) -> Factor | None:
    """Return the factor of a model for the dual solver, stored or computed; None if it is large.

    Its Gram matrix holds for every damping, so the selection of the damping and the shards share
    it. With more factor rows than the selection takes, it has no use here.
    """
    solver, rows = member.solver, make_solver_problem(member).factor_rows
    is_exact = solver.kind == "dual" and not solver.factor_depends_on_damping
    if not is_exact or rows > MAX_GRAM_ROWS or member.study.curvature.kind != "gauss-newton":
        return None
    stored = read_factor(member.store, factor_digest(member))
    return stored or compute_factor(member, damping=1.0)


def _keep_factors(context: RunContext, factors: Sequence[Factor | None]) -> None:
    """Store the factors of the selected models, which the shards need; the others are dropped."""
    latest = resolve_choices(context)
    if latest.is_unrolled or latest.ekfac_choice is not None:
        return
    used = [place for place in range(len(factors)) if place not in latest.excluded_members]
    for place in used:
        member, factor = latest.members[place], factors[place]
        if factor and context.store.find_artifact("factor", factor_digest(member)) is None:
            store_factor(context.store, member, factor)


def _try_ekfac(
    context: RunContext, query_ids: Tensor, halves: Sequence[HalfSubset], outcomes: Tensor
) -> ModelTrial | None:
    """Select and store the damping of EK-FAC, and return its trial with its effects.

    None if it is not tried: EK-FAC needs forward hooks that not every model supports, and only a
    study that demands it is refused then.
    """
    if not context.tries_ekfac:
        return None
    curvature = make_gauss_newton(context, get_train_examples(context))
    queries = context.query_examples.subset(query_ids)
    try:
        trial = try_model(curvature, queries, halves, outcomes, approximate=Spectral())
    except InputError as error:
        if context.study.estimator.ekfac is True:
            raise
        get_logger("fastif").warning("Effects by EK-FAC are not tried: %s", error)
        return None
    DAMPING.write(context.store, ekfac_digest(context), trial.damping)
    return trial


def _compute_unrolled_effects(
    context: RunContext, query_ids: Tensor, record: TrainingRecord
) -> Tensor:
    """Return the effects of all rows on the control queries through the training, [e, n]."""
    attributor = make_unrolled_attributor(context, ExhaustiveSearch(), record)
    sweeps = math.ceil(len(query_ids) / attributor.sweep_queries)
    steps = sweeps * attributor.record.num_steps
    with progress_bar("estimator: sweep through the training", steps, "steps") as advance:
        tracked = replace(attributor, progress=lambda *_: advance(1))
        return tracked.compute_effects(context.query_examples, query_ids)


def _select_estimator(
    context: RunContext,
    choices: Sequence[DampingSelection],
    ekfac: ModelTrial | None,
    models: Sequence[RowEffects],
    halves: Sequence[HalfSubset],
    outcomes: Tensor,
) -> EstimatorSelection:
    section = context.study.estimator
    checkpoints = len(section.folders)
    trainings = len(choices) - checkpoints
    worse = find_clearly_worse(choices[:trainings])
    base = [place for place in range(trainings) if place not in worse]
    powers = POWERS if section.power == "auto" else (section.power,)
    estimators = list_estimators(
        [choice.damping for choice in choices],
        checkpoints,
        base,
        sorted({0.0, *powers}),
        unrolled=section.through_training,
        ekfac=None if ekfac is None else ekfac.damping.damping,
    )
    if section.power != "auto":
        estimators = [e for e in estimators if e.power == section.power and e.kind != COSINE]
    predictions = [predict_outcomes(estimator, models, halves) for estimator in estimators]
    return select_estimator(estimators, predictions, outcomes.to(torch.float64).cpu())
