"""What all shards of a run share: the training table, the candidate index, the curvature's factor.

Each is a part of the study, named by what it depends on; one that is there is not made again.
"""

from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from storage import Store
from tasks.frames import train_frame
from tasks.job import Job
from tasks.opening import leased_job
from tasks.parts import write_factor, write_index
from tasks.plan import TRAIN, RunRef
from tasks.progress import stage
from tasks.retry import passing_faults
from tasks.sections import Knn, Sketches
from tasks.sketches import sketches_ready, write_sketches
from tasks.work import factor_examples


@task(name="describe-train", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def describe_train(ref: RunRef) -> int:
    """Commit the table of training examples with the model's predictions; their number."""
    with leased_job(ref) as job:
        if not job.store.is_done(ref.run, TRAIN):
            with stage("training rows: predictions", len(job.train)) as watch:
                outputs, losses = fastif.predict(job.objective, watch(job.train))
            job.store.commit(ref.run, TRAIN, {TRAIN: train_frame(job, outputs, losses)})
        return len(job.train)


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
        if job.by_sketches and not getattr(job.candidates, "check", 0):
            return []  # nothing is solved
        for member in job.members:
            if factor_examples(member) and job.store.part("factor", member.factor_digest) is None:
                _write_factor(job.store, member)
        return [member.factor_digest for member in job.members]


def _write_factor(store: Store, member: Job) -> None:
    with stage("curvature: factor once", factor_examples(member)) as watch:
        factor = member.study.solver.factor(member.curvature(watch(member.train), member.damping))
    if factor:
        store.write_part("factor", member.factor_digest, lambda to: write_factor(to, factor))
