"""What all shards of a run share: the training table, the candidate index, the curvature's factor.

Each is a part of the study, named by what it depends on; one that is there is not made again.
"""

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import Tensor

import fastif
from fastif.solvers.definiteness import add_min_eigenvalue, require_positive_definite
from storage import Store
from tasks.audit.frames import make_train_frame
from tasks.planning.cost_model import count_factor_examples
from tasks.planning.open_run import lease_run
from tasks.run.artifacts import write_factor, write_index
from tasks.run.context import RunContext
from tasks.run.reuse import read_reused_train
from tasks.run.sketches import has_sketches, write_sketches
from tasks.run.spec import TRAIN, RunRef
from tasks.runtime.progress import progress_stage
from tasks.runtime.retries import retry_if_transient
from tasks.study.candidates import KnnSection, SketchSection


@task(
    name="describe-train", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def describe_train(ref: RunRef) -> int:
    """Commit the table of training examples with the model's predictions; their number."""
    with lease_run(ref) as job:
        if not job.store.is_committed(ref.run, TRAIN):
            job.store.commit(ref.run, TRAIN, {TRAIN: _predict_or_reuse(job)})
        return len(job.train_texts)


def _predict_or_reuse(job: RunContext) -> pl.DataFrame:
    """What an earlier night described of the same rows, and the others now."""
    reuse = job.reuse
    if reuse is None:
        return _add_trained_column(job, _predict_train(job, fastif.all_ids(job.train_texts)))
    new_frames = [_predict_train(job, reuse.new_train)] if len(reuse.new_train) else []
    return _add_trained_column(
        job, pl.concat([*new_frames, read_reused_train(job, reuse)]).sort(TRAIN)
    )


def _add_trained_column(job: RunContext, rows: pl.DataFrame) -> pl.DataFrame:
    """With what the record beside the model says of each row, which follows tonight's table."""
    provenance = job.provenance
    trained = None if provenance is None else provenance.trained
    column = pl.lit(None, pl.Boolean) if trained is None else pl.Series(trained, dtype=pl.Boolean)
    return rows.with_columns(trained=column)


def _predict_train(job: RunContext, ids: Tensor) -> pl.DataFrame:
    with progress_stage("training rows: predictions", len(ids)) as track:
        outputs, losses = fastif.predict(job.objective, track(job.train), ids=ids)
    return make_train_frame(job, ids, outputs, losses)


@task(name="build-index", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient)
def build_index(ref: RunRef) -> list[str]:
    """Index the training set for each method that searches; the parts' digests."""
    with lease_run(ref) as job:
        for method, digest in zip(job.study.candidates.methods, job.index_digests, strict=True):
            if isinstance(method, SketchSection):
                if not has_sketches(job.store, digest):
                    write_sketches(job, method, digest)
            elif job.store.find_artifact("index", digest) is None:
                _write_embedding_index(job, method, digest)
        return list(job.index_digests)


def _write_embedding_index(job: RunContext, method: KnnSection, digest: str) -> None:
    with progress_stage("training rows: representations", len(job.train)) as track:
        embeddings = fastif.compute_embeddings(
            job.objective, track(job.train), fastif.all_ids(job.train)
        )
    index = fastif.CandidateIndex.build(embeddings, method.factory)
    job.store.write_artifact("index", digest, lambda folder: write_index(folder, index))


@task(
    name="factor-curvature", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def factor_curvature(ref: RunRef) -> list[str]:
    """Do once what every solve needs of each model's curvature; the parts' digests."""
    with lease_run(ref) as job:
        if job.has_sketch_scores and (job.reuse or not getattr(job.candidates, "check", 0)):
            return []  # nothing is solved
        for member in job.averaged_members:
            if (
                count_factor_examples(member)
                and job.store.find_artifact("factor", member.factor_digest) is None
            ):
                _write_factor(job.store, member)
        return [member.factor_digest for member in job.averaged_members]


def _write_factor(store: Store, member: RunContext) -> None:
    with progress_stage("curvature: factor once", count_factor_examples(member)) as track:
        operator = member.make_curvature(track(member.train), member.damping)
        factor = add_min_eigenvalue(operator, member.study.solver.factor(operator))
        require_positive_definite(operator, factor)  # or it is refused, before the first shard
    if factor:
        store.write_artifact(
            "factor", member.factor_digest, lambda folder: write_factor(folder, factor)
        )
