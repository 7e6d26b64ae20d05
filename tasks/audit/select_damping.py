"""damping = "auto": train again on a few halves, and take the lambda whose effects foresee it."""

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.data.examples import Selected
from fastif.evaluation.select_damping import HALVES, damping_by_retraining, half_subsets
from fastif.numerics.correlation import margins
from tasks.models.finetune import new_objective, recipe_of
from tasks.models.locate import base_folder
from tasks.planning.open_run import leased_job
from tasks.run.context import Job, cached
from tasks.run.reuse import lost_choice
from tasks.run.selections import read_choice, write_choice
from tasks.run.spec import RunRef
from tasks.runtime.progress import bar
from tasks.runtime.retries import passing_faults

ASKED = 64
"""Queries whose gradients are held while the damping is chosen."""

FIRST_SEED = 1000


@task(name="choose-damping", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def choose_damping(ref: RunRef) -> list[float]:
    """Choose each model's damping, unless it is given or has been chosen; the effective ones."""
    with leased_job(ref) as job:
        if job.study.fixed_damping is None:
            left = [m for m in job.members if read_choice(job.store, m.choice_digest) is None]
            if left and job.carried:
                raise lost_choice(job, "damping")
            if left:
                _choose(job, left)
        return [member.damping for member in job.members]


def _choose(job: Job, members: list[Job]) -> None:
    """For all of them by the same few trainings."""
    count, solver = len(job.query_texts), job.study.solver
    generator = torch.Generator().manual_seed(0)
    asked = torch.randperm(count, generator=generator)[:ASKED].sort().values
    halves = half_subsets(len(job.train_texts), HALVES, seed=0)
    outcomes = _retrained(job, halves, asked)
    for member in members:
        choice = damping_by_retraining(
            member.gauss_newton(member.train),
            Selected(member.query_texts, asked),
            halves,
            outcomes,
            approximate=solver if isinstance(solver, fastif.Spectral) else None,
        )
        write_choice(job.store, member.choice_digest, choice)


def _retrained(job: Job, halves: list[torch.Tensor], asked: torch.Tensor) -> torch.Tensor:
    """Margins of the queries under the models of the halves, [halves queries]."""
    study, labels = job.study, job.query_texts.labels[asked]
    base, table, device = base_folder(study), job.plan.inputs.train, job.objective.like.device
    first = new_objective(study, base, table, FIRST_SEED, device)
    # The frozen part is that of the base model, whatever the half: it is computed once.
    train, queries = (
        cached(first, texts, study) for texts in (job.train_texts, Selected(job.query_texts, asked))
    )
    found = []
    with bar("damping: training on halves", len(halves)) as advance:
        for number, half in enumerate(halves):
            objective = new_objective(study, base, table, FIRST_SEED + number, device)
            objective.params = fastif.fit(
                objective, Selected(train, half), recipe_of(study, FIRST_SEED + number)
            )
            logits = fastif.predict(objective, queries)[0]
            found.append(margins(logits, labels.to(logits.device)))
            advance(1)
    return torch.stack(found)
