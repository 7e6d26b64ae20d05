"""Task that measures the agreement of a sampled curvature with that of all rows."""

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.evaluation.curvature_agreement import (
    CurvatureAgreement,
    SampledInverse,
    list_owners,
    measure_curvature_agreement,
)
from fastif.gradients.per_example import compute_loss_gradients
from tasks.planning.agreement_cost import (
    MIN_PASSES,
    QUERIES,
    count_affordable_passes,
    describe_cost,
    is_measurable,
)
from tasks.planning.forecast import forecast_run
from tasks.planning.open_run import lease_run
from tasks.planning.options import estimate_option
from tasks.run.agreement import AgreementRecord
from tasks.run.artifact_keys import factor_digest
from tasks.run.artifacts import read_factor
from tasks.run.budget_selection import Settings
from tasks.run.context import RunContext
from tasks.run.curvature import make_gauss_newton, sample_rows
from tasks.run.hidden_states import get_query_examples, get_train_examples
from tasks.run.spec import RunRef, list_planned_shards
from tasks.run.stored_agreement import read_agreement, write_agreement
from tasks.runtime.progress import READS, progress_stage
from tasks.runtime.retries import retry_if_transient
from tasks.runtime.stage_timer import STAGE_TIMER

SEED = 2_236_067_977
"""Random seed of the sample of control queries."""
REPEATED = ("predictions", "curvature")
"""Stages before this one that another number of curvature rows, hence another run, computes too."""
NESTED = (4, 2, 1)
"""Divisors of the number of curvature rows, for the nested samples."""


@task(
    name="measure-agreement",
    cache_policy=NO_CACHE,
    retries=2,
    retry_condition_fn=retry_if_transient,
)
def measure_agreement(ref: RunRef) -> None:
    """Store the agreement of effects by the run's sampled curvature with those by all rows.

    Nothing is measured for a curvature of all rows, a solver without a Gram matrix, sketch scores
    and incremental runs. Where there is no time for the measurement, the reason is stored.
    """
    with lease_run(ref) as context:
        if not is_measurable(context):
            return
        if read_agreement(context) is None:
            write_agreement(context, _measure(context))


def _measure(context: RunContext) -> AgreementRecord:
    done = STAGE_TIMER.seconds  # of the stages before, in this process
    forecast = forecast_run(context, list_planned_shards(context.plan))
    rest = sum(done.values()) + forecast.seconds_without_agreement
    passes = count_affordable_passes(context, rest)
    if passes < MIN_PASSES:
        return AgreementRecord(lacks=describe_cost(context, rest))
    first = context.averaged_members[0]
    factor = read_factor(context.store, factor_digest(first))
    if factor is None:
        return AgreementRecord(lacks="the run needs no factor of the curvature")
    more = _estimate_rest_with_twice_the_rows(context)
    measured = _compare_with_all_rows(first, factor["kernel"], passes)
    if isinstance(measured, str):
        return AgreementRecord(lacks=measured)
    kept = sum(seconds for name, seconds in done.items() if name not in REPEATED)
    twice = None if more is None else kept + more
    return AgreementRecord(measured, seconds=rest, twice_seconds=twice)


def _estimate_rest_with_twice_the_rows(context: RunContext) -> float | None:
    """Forecast the rest with twice the curvature rows, factor included; None if unavailable."""
    study = context.study
    rows = 2 * (study.curvature.sample_size or 0)
    if rows >= len(context.train_examples):
        return None
    option = estimate_option(context, Settings(rows, study.solver, study.candidates))
    return None if option.lacks else option.seconds


def _compare_with_all_rows(
    context: RunContext, kernel: torch.Tensor, passes: int
) -> CurvatureAgreement | str:
    """Return the agreement, or the reason why there is none."""
    train, curvature = get_train_examples(context), context.study.curvature
    assert curvature.sample_size is not None
    sizes = sorted({max(1, curvature.sample_size // divisor) for divisor in NESTED})
    subsets = [sample_rows(len(train), size, curvature.seed) for size in sizes]
    sampled = make_gauss_newton(context, train)
    all_rows = fastif.GaussNewton(context.objective, train)
    coefficients = all_rows.compute_factor_coefficients(train)
    if coefficients is None:
        return "some training rows have a gradient, but no curvature"
    queries = sample_rows(len(context.query_examples), QUERIES, SEED)
    rhs = compute_loss_gradients(sampled.gradients, get_query_examples(context), queries)
    kernel, owners = kernel.to(rhs.device), list_owners(sampled)
    inverse = SampledInverse(sampled, kernel, context.damping, owners)
    with progress_stage("curvature: agreement with all rows", passes * len(train), READS) as track:
        tracked = fastif.GaussNewton(context.objective, track(train))
        measured = measure_curvature_agreement(inverse, tracked, coefficients, rhs, subsets, passes)
    lacks = f"no control query has a gradient, or no reference converged in {passes} passes"
    return measured or lacks
