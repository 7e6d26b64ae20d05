"""Preparation of a run: training table, candidate index and factor of the curvature.

Index and factor are artifacts of the study; existing ones are reused.
"""

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import Tensor

import fastif
from fastif.solvers import Factor
from fastif.solvers.definiteness import add_min_eigenvalue, require_positive_definite
from storage import Store
from tasks.audit.example_frames import make_train_frame
from tasks.planning.open_run import lease_run
from tasks.planning.workload import count_factor_examples, make_solver_problem
from tasks.run.artifact_keys import factor_digest, index_digests
from tasks.run.artifacts import write_factor
from tasks.run.assemble import get_provenance
from tasks.run.context import RunContext
from tasks.run.curvature import make_curvature
from tasks.run.hidden_states import get_train_examples
from tasks.run.index_kinds import INDEX_KINDS
from tasks.run.reuse import get_reuse, read_reused_train
from tasks.run.spec import TRAIN, RunRef
from tasks.runtime.progress import READS, progress_stage
from tasks.runtime.retries import retry_if_transient

EKFAC_PASSES = 2
"""Passes of an EK-FAC fit over the rows: eigenvectors, then eigenvalues."""


@task(
    name="describe-train", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def describe_train(ref: RunRef) -> int:
    """Commit the training table with the model's predictions, and return its number of rows."""
    with lease_run(ref) as context:
        if not context.store.is_committed(ref.run, TRAIN):
            context.store.commit(ref.run, TRAIN, {TRAIN: _predict_or_reuse(context)})
        return len(context.train_examples)


def _predict_or_reuse(context: RunContext) -> pl.DataFrame:
    """Return the parent run's predictions of unchanged rows, and new ones of the others."""
    reuse = get_reuse(context)
    if reuse is None:
        return _add_trained_column(
            context, _predict_train(context, fastif.all_ids(context.train_examples))
        )
    new_frames = [_predict_train(context, reuse.new_train)] if len(reuse.new_train) else []
    return _add_trained_column(
        context, pl.concat([*new_frames, read_reused_train(context, reuse)]).sort(TRAIN)
    )


def _add_trained_column(context: RunContext, rows: pl.DataFrame) -> pl.DataFrame:
    """Add the column `trained` from the training record of the model."""
    provenance = get_provenance(context)
    trained = None if provenance is None else provenance.trained
    column = pl.lit(None, pl.Boolean) if trained is None else pl.Series(trained, dtype=pl.Boolean)
    return rows.with_columns(trained=column)


def _predict_train(context: RunContext, ids: Tensor) -> pl.DataFrame:
    with progress_stage("training rows: predictions", len(ids), is_distinct=True) as track:
        outputs, _ = fastif.predict(context.objective, track(get_train_examples(context)), ids=ids)
    return make_train_frame(context, ids, outputs)


@task(name="build-index", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient)
def build_index(ref: RunRef) -> list[str]:
    """Build the index of each candidate method, and return their cache keys."""
    with lease_run(ref) as context:
        searcher = context.searcher
        digests = index_digests(searcher)
        for method, digest in zip(context.study.candidates.methods, digests, strict=True):
            INDEX_KINDS[method.kind].write(searcher, method, digest)
        return list(digests)


@task(
    name="factor-curvature", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def factor_curvature(ref: RunRef) -> list[str]:
    """Factor the curvature of each model, and return the factors' cache keys."""
    with lease_run(ref) as context:
        if context.has_sketch_scores and (
            get_reuse(context) or not context.candidates.checked_queries
        ):
            return []  # no solves, hence no factor
        if context.is_unrolled or context.study.has_trees:
            return []  # no system is solved
        for member in context.averaged_members:
            if (
                count_factor_examples(member)
                and context.store.find_artifact("factor", factor_digest(member)) is None
            ):
                _write_factor(context.store, member)
        return [factor_digest(member) for member in context.averaged_members]


def _count_reads(member: RunContext) -> int | None:
    """Count the rows that a factorization reads; None if its stopping rule decides."""
    solver = member.solver
    if solver.kind == "spectral" or getattr(solver, "preconditioner", None) == "ekfac":
        return None if solver.kind == "lissa" else EKFAC_PASSES * make_solver_problem(member).rows
    is_counted = solver.kind in ("dual", "direct") and getattr(solver, "rank", None) is None
    return count_factor_examples(member) if is_counted else None


def _write_factor(store: Store, member: RunContext) -> None:
    factor = compute_factor(member, member.damping)
    if factor:
        store_factor(store, member, factor)


def compute_factor(member: RunContext, damping: float) -> Factor:
    """Factor the curvature of a model.

    Raises:
        InputError: The damped curvature is not positive definite.
    """
    with progress_stage("curvature: factorization", _count_reads(member), READS) as track:
        operator = make_curvature(member, track(get_train_examples(member)), damping)
        factor = add_min_eigenvalue(operator, member.solver.factor(operator))
        require_positive_definite(operator, factor)  # refused before the first shard
    return factor


def store_factor(store: Store, member: RunContext, factor: Factor) -> None:
    """Write the factor of a model's curvature to the store."""
    store.write_artifact(
        "factor", factor_digest(member), lambda folder: write_factor(folder, factor)
    )
