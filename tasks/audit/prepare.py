"""What all shards of a run share: the training table, the candidate index, the curvature's factor.

Each is a part of the study, named by what it depends on; one that is there is not made again.
"""

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import Tensor

import fastif
from fastif.solvers.definiteness import positive_definite, with_least
from storage import Store
from tasks.audit.frames import train_frame
from tasks.planning.cost_model import factor_examples
from tasks.planning.open_run import leased_job
from tasks.run.artifacts import write_factor, write_index
from tasks.run.context import Job
from tasks.run.reuse import kept_train
from tasks.run.sketches import sketches_ready, write_sketches
from tasks.run.spec import TRAIN, RunRef
from tasks.runtime.progress import stage
from tasks.runtime.retries import passing_faults
from tasks.study.sections import Knn, Sketches


@task(name="describe-train", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def describe_train(ref: RunRef) -> int:
    """Commit the table of training examples with the model's predictions; their number."""
    with leased_job(ref) as job:
        if not job.store.is_done(ref.run, TRAIN):
            job.store.commit(ref.run, TRAIN, {TRAIN: _described(job)})
        return len(job.train_texts)


def _described(job: Job) -> pl.DataFrame:
    """What an earlier night described of the same rows, and the others now."""
    carried = job.carried
    if carried is None:
        return _with_trained(job, _predicted(job, fastif.every(job.train_texts)))
    fresh = [_predicted(job, carried.fresh_train)] if len(carried.fresh_train) else []
    return _with_trained(job, pl.concat([*fresh, kept_train(job, carried)]).sort(TRAIN))


def _with_trained(job: Job, rows: pl.DataFrame) -> pl.DataFrame:
    """With what the record beside the model says of each row, which follows tonight's table."""
    known = job.provenance
    trained = None if known is None else known.trained
    column = pl.lit(None, pl.Boolean) if trained is None else pl.Series(trained, dtype=pl.Boolean)
    return rows.with_columns(trained=column)


def _predicted(job: Job, ids: Tensor) -> pl.DataFrame:
    with stage("training rows: predictions", len(ids)) as watch:
        outputs, losses = fastif.predict(job.objective, watch(job.train), ids=ids)
    return train_frame(job, ids, outputs, losses)


@task(name="build-index", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def build_index(ref: RunRef) -> list[str]:
    """Index the training set for each method that searches; the parts' digests."""
    with leased_job(ref) as job:
        for method, digest in zip(job.study.candidates.methods, job.index_digests, strict=True):
            if isinstance(method, Sketches):
                if not sketches_ready(job.store, digest):
                    write_sketches(job, method, digest)
            elif job.store.part("index", digest) is None:
                _write_representations(job, method, digest)
        return list(job.index_digests)


def _write_representations(job: Job, candidates: Knn, digest: str) -> None:
    with stage("training rows: representations", len(job.train)) as watch:
        rows = fastif.embeddings(job.objective, watch(job.train), fastif.every(job.train))
    index = fastif.CandidateIndex.build(rows, candidates.factory)
    job.store.write_part("index", digest, lambda folder: write_index(folder, index))


@task(name="factor-curvature", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def factor_curvature(ref: RunRef) -> list[str]:
    """Do once what every solve needs of each model's curvature; the parts' digests."""
    with leased_job(ref) as job:
        if job.by_sketches and (job.carried or not getattr(job.candidates, "check", 0)):
            return []  # nothing is solved
        for member in job.averaged:
            if factor_examples(member) and job.store.part("factor", member.factor_digest) is None:
                _write_factor(job.store, member)
        return [member.factor_digest for member in job.averaged]


def _write_factor(store: Store, member: Job) -> None:
    with stage("curvature: factor once", factor_examples(member)) as watch:
        operator = member.curvature(watch(member.train), member.damping)
        factor = with_least(operator, member.study.solver.factor(operator))
        positive_definite(operator, factor)  # or it is refused, before the first shard
    if factor:
        store.write_part("factor", member.factor_digest, lambda to: write_factor(to, factor))
