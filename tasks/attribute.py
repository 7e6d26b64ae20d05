"""The work of the audit: one shard of queries from text to committed scores."""

from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from storage import Shard
from tasks.frames import score_frames, totals_frame
from tasks.opening import leased_job
from tasks.plan import RunRef
from tasks.retry import passing_faults
from tasks.shard_error import named
from tasks.slices import slices_of, wants_totals


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
        ids = fastif.every(job.queries)[shard.start : shard.stop]
        outputs, losses = fastif.predict(job.objective, job.queries, ids=ids)
        slices = slices_of(job, ids, outputs) if wants_totals(job.study) else None
        numbers = None if slices is None else slices.numbers
        answer = job.attributor(job.queries, ids, numbers)
        frames = score_frames(job, ids, answer, outputs, losses)
        if slices is not None and answer.totals is not None:
            frames["totals"] = totals_frame(slices.named(answer.certificate), answer.totals)
        job.store.commit(ref.run, shard.key, frames)
        return len(shard)
