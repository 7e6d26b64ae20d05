"""The work of the audit: one shard of queries from text to committed scores."""

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import Tensor

import fastif
from storage import Shard
from tasks.audit.frames import score_frames, totals_frame
from tasks.audit.sketch_scores import by_sketches_alone
from tasks.planning.open_run import leased_job
from tasks.run.context import Job
from tasks.run.reuse import NONE as NEW
from tasks.run.reuse import kept_frames
from tasks.run.slices import slices_of, wants_totals
from tasks.run.spec import RunRef
from tasks.runtime.retries import passing_faults
from tasks.runtime.shard_error import named

ORDER = {"scores": ("query", "rank"), "solves": ("query",), "queries": ("query",)}
"""Tables of a shard of which each query has rows of its own, and their order."""


@task(
    name="attribute-shard",
    task_run_name="shard-{shard.index}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=passing_faults,
)
def attribute_shard(shard: Shard, ref: RunRef) -> int:
    """Attribute the queries of a shard and commit them; the number of queries.

    Raises:
        ShardError: whatever failed, with the shard and its queries named.
    """
    with named(shard, ref.run), leased_job(ref) as job:
        ids, carried = fastif.every(job.query_texts)[shard.start : shard.stop], job.carried
        if carried is None:
            frames = _answered(job, ids)
        else:
            new = carried.queries[ids] == NEW
            parts = [_answered(job, ids[new])] if bool(new.any()) else []
            parts += [kept_frames(job, carried, ids[~new])] if not bool(new.all()) else []
            frames = {
                name: pl.concat([part[name] for part in parts]).sort(*order)
                for name, order in ORDER.items()
            }
        job.store.commit(ref.run, shard.key, frames)
        return len(shard)


def _answered(job: Job, ids: Tensor) -> dict[str, pl.DataFrame]:
    """The tables of queries that are answered now."""
    outputs, losses = fastif.predict(job.objective, job.queries, ids=ids)
    if job.by_sketches:
        return score_frames(job, ids, by_sketches_alone(job, ids), outputs, losses)
    slices = slices_of(job, ids, outputs) if wants_totals(job.study) else None
    numbers = None if slices is None else slices.numbers
    answer = job.attributor(job.queries, ids, numbers)
    frames = score_frames(job, ids, answer, outputs, losses)
    if slices is not None and answer.totals is not None:
        frames["totals"] = totals_frame(slices.named(answer.certificate), answer.totals)
    return frames
