"""damping = "auto": train again on a few halves, and take the lambda whose effects foresee it."""

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.evaluation.select_damping import HALVES, sample_halves, select_damping_by_retraining
from fastif.numerics.correlation import margins
from tasks.models.finetune import make_objective, make_training_config
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.locate import find_base_folder
from tasks.planning.open_run import lease_run
from tasks.run.context import RunContext
from tasks.run.reuse import make_lost_choice_error
from tasks.run.selections import read_damping_choice, write_damping_choice
from tasks.run.spec import RunRef
from tasks.runtime.progress import progress_bar
from tasks.runtime.retries import retry_if_transient

MAX_QUERIES = 64
"""Queries whose gradients are held while the damping is chosen."""

FIRST_SEED = 1000


@task(
    name="choose-damping", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def choose_damping(ref: RunRef) -> list[float]:
    """Choose each model's damping, unless it is given or has been chosen; the effective ones."""
    with lease_run(ref) as job:
        if job.study.fixed_damping is None:
            undecided = [
                m for m in job.members if read_damping_choice(job.store, m.damping_digest) is None
            ]
            if undecided and job.reuse:
                raise make_lost_choice_error(job, "damping")
            if undecided:
                _choose_for_models(job, undecided)
        return [member.damping for member in job.members]


def _choose_for_models(job: RunContext, members: list[RunContext]) -> None:
    """For all of them by the same few trainings."""
    count, solver = len(job.query_texts), job.study.solver
    generator = torch.Generator().manual_seed(0)
    query_ids = torch.randperm(count, generator=generator)[:MAX_QUERIES].sort().values
    halves = sample_halves(len(job.train_texts), HALVES, seed=0)
    half_margins = _retrain_on_halves(job, halves, query_ids)
    for member in members:
        choice = select_damping_by_retraining(
            member.make_gauss_newton(member.train),
            member.query_texts.subset(query_ids),
            halves,
            half_margins,
            approximate=solver.ekfac_solver,
        )
        write_damping_choice(job.store, member.damping_digest, choice)


def _retrain_on_halves(
    job: RunContext, halves: list[torch.Tensor], query_ids: torch.Tensor
) -> torch.Tensor:
    """Margins of the queries under the models of the halves, [halves queries]."""
    study, labels = job.study, job.query_texts.labels[query_ids]
    base, table, device = find_base_folder(study), job.plan.inputs.train, job.objective.like.device
    first = make_objective(study, base, table, FIRST_SEED, device)
    # The frozen part is that of the base model, whatever the half: it is computed once.
    train, queries = (
        cache_hidden_states(first, texts, study)
        for texts in (job.train_texts, job.query_texts.subset(query_ids))
    )
    half_margins = []
    with progress_bar("damping: training on halves", len(halves)) as advance:
        for number, half in enumerate(halves):
            objective = make_objective(study, base, table, FIRST_SEED + number, device)
            objective.params = fastif.fit(
                objective,
                train.subset(half),
                make_training_config(study, FIRST_SEED + number),
            )
            logits = fastif.predict(objective, queries)[0]
            half_margins.append(margins(logits, labels.to(logits.device)))
            advance(1)
    return torch.stack(half_margins)
