"""target_recall: the least k whose candidates hold enough of what a full scan finds."""

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.candidates.class_quota import places
from fastif.candidates.retrieval import searched_rows
from fastif.data.examples import Selected
from fastif.evaluation.select_k import CandidateChoice, choose_k, ladder
from tasks.audit.check_recall import asked_for_k, scanned_in_full
from tasks.planning.open_run import leased_job
from tasks.run.artifact_keys import candidate_digest
from tasks.run.artifacts import read_method
from tasks.run.context import Job, cached
from tasks.run.k_selection import target_of, write_candidate_choice
from tasks.run.reuse import lost_choice
from tasks.run.spec import RunRef
from tasks.runtime.retries import passing_faults
from tasks.study.sections import AnyMethod


@task(name="choose-candidates", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def choose_candidates(ref: RunRef) -> None:
    """Choose k before any shard is attributed, unless it is given or has been chosen."""
    with leased_job(ref) as job:
        method = target_of(job.study.candidates)
        if method is not None and job.candidate_choice is None:
            if job.carried:
                raise lost_choice(job, "number of candidates")
            write_candidate_choice(job.store, candidate_digest(job), _choose(job, method))


def _choose(job: Job, method: AnyMethod) -> CandidateChoice:
    """By a few queries that are scanned in full; one that has no answer is left out."""
    assert method.target_recall is not None
    asked = asked_for_k(job)
    answer = scanned_in_full(job, asked.ids)
    sound = ~answer.certificate.quarantined
    found = answer.influences
    return choose_k(
        *_asked(job, method, asked.ids[sound]),
        fastif.Influences(found.ids[sound], found.removal_effect[sound]),
        method.target_recall,
        [k for k in ladder(len(job.train_texts)) if _kept(method, k)],
        asked.weights[sound],
    )


def _asked(
    job: Job, method: AnyMethod, ids: torch.Tensor
) -> tuple[fastif.Nearest | fastif.Sketched, torch.Tensor]:
    """The method, and what its index is asked with for these queries."""
    (digest,), labels = job.index_digests, job.train_texts.labels.cpu()
    any_k = method.model_copy(update={"k": 1})
    search = read_method(job.store, digest, any_k, job.objective, labels)
    queries = cached(job.objective, Selected(job.query_texts, ids), job.study)
    gradients, every = fastif.Gradients(job.objective), fastif.every(queries)
    return search, searched_rows(search, gradients, queries, every, job.study.run.batch_size)


def _kept(method: AnyMethod, k: int) -> bool:
    """Whether each label gets a whole candidate of so many, if a quota asks for it."""
    return method.quota is None or places(method.quota, k) > 0
