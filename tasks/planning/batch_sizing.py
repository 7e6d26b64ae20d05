"""The sizes of a run that keep it within `[run] memory_gb`."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fastif import InputError
from storage import free_bytes
from tasks.planning.cost_model import passes, work_of
from tasks.planning.memory import (
    MEGABYTE,
    Sizes,
    hidden_bytes,
    memory,
)
from tasks.run.hidden_states import unwritten_bytes
from tasks.run.members import with_plan, with_study
from tasks.run.spec import begun_shard_size, planned_shards

if TYPE_CHECKING:  # a job is fitted while it is made
    from tasks.run.context import Job

SHARDS = (512, 256, 128, 64, 32, 16, 8)
BATCHES = (32, 16, 8, 4, 2, 1)
GIGABYTE = 2**30
PREFIX = ("prefix_cache_mb", "prefix_disk_mb")
ROOM = 0.9
"""Of memory_gb, what the forecast may fill: peaks were measured up to 9 % above their forecast."""
SHARE_OF_DISK = 0.25
"""Of what is free, that files are written to without being asked for."""


def fitted(job: "Job") -> "Job":
    """The job with sizes that fit into the study's memory; as it is if the study names no bound.

    Raises:
        InputError: nothing fits.
    """
    if job.study.run.memory_gb is None:
        return job
    sizes = choose_sizes(job)
    run = job.study.run.model_copy(
        update={"batch_size": sizes.batch_size, "prefix_cache_mb": sizes.prefix_cache_mb}
    )
    fit = with_study(job, job.study.model_copy(update={"run": run}))
    record = replace(job.plan.record, shard_size=sizes.shard_size)
    fit = with_plan(fit, replace(fit.plan, record=record, sizes=_told(job, sizes)))
    return fit if any(map(partial(_is_given, job), PREFIX)) else _with_disk(fit)


def _with_disk(job: "Job") -> "Job":
    """The same with room on the disk for hidden states that memory has none for, if worth it."""
    megabytes = _disk_worth_having(job)
    if not megabytes:
        return job
    run = job.study.run.model_copy(update={"prefix_disk_mb": megabytes})
    fit = with_study(job, job.study.model_copy(update={"run": run}))
    return with_plan(fit, replace(fit.plan, sizes=f"{job.plan.sizes}; prefix_disk_mb {megabytes}"))


def _disk_worth_having(job: "Job") -> int:
    """Megabytes of disk for all hidden states that memory has no room for, or 0.

    They are worth it where the frozen layers would else be asked more than once for a training row,
    or the files are there already, and no more than a part of the free disk.
    """
    lacking = sum(max(0, b - job.study.run.prefix_cache_mb * MEGABYTE) for b in hidden_bytes(job))
    megabytes = -(-lacking // MEGABYTE)
    free = free_bytes(job.plan.store_path)
    if not megabytes or megabytes * MEGABYTE > SHARE_OF_DISK * free:
        return 0
    run = job.study.run.model_copy(update={"prefix_disk_mb": megabytes})
    held = with_study(job, job.study.model_copy(update={"run": run}))
    if not unwritten_bytes(held):
        return megabytes
    return megabytes if passes(job, work_of(job, planned_shards(job.plan))) > 1 else 0


def choose_sizes(job: "Job") -> Sizes:
    """The largest batches, then the largest shards that fit; hidden states take what is left.

    A larger shard is the better use of memory: every pass over the training rows serves all of its
    queries. What the study or a run that was begun says is kept.

    Raises:
        InputError: nothing fits.
    """
    limit = job.study.run.memory_gb
    assert limit is not None
    options = list(_options(job))
    for least in options:
        free = round(limit * ROOM * GIGABYTE) - memory(job, least)
        if free >= 0:
            return least if _is_given(job, "prefix_cache_mb") else _with_prefix(job, least, free)
    raise _nothing_fits(job, min(options, key=lambda sizes: memory(job, sizes)))


def _options(job: "Job") -> Iterator[Sizes]:
    """What to try in order, with as few hidden states in memory as may be."""
    run, shards = job.study.run, _shards(job)
    prefix = run.prefix_cache_mb if _is_given(job, "prefix_cache_mb") else 0
    for batch in (run.batch_size,) if _is_given(job, "batch_size") else BATCHES:
        for shard in shards:
            yield Sizes(shard, batch, prefix)


def _shards(job: "Job") -> tuple[int, ...]:
    """The shard sizes to try, the largest first; none has room for more than all queries."""
    given = begun_shard_size(job.study, job.plan.record.run)
    if given is None and _is_given(job, "shard_size"):
        given = job.study.run.shard_size
    if given is not None:
        return (given,)
    queries = len(job.query_texts)
    return tuple(size for size in SHARDS if size <= queries) or (queries,)


def _with_prefix(job: "Job", sizes: Sizes, free: int) -> Sizes:
    """Each of the two tables has this budget; the smaller one may need less."""
    small, large = sorted(hidden_bytes(job))
    room = max(free // 2, free - small)
    return replace(sizes, prefix_cache_mb=min(-(-large // MEGABYTE), room // MEGABYTE))


def _is_given(job: "Job", name: str) -> bool:
    return name in job.study.run.model_fields_set


def _told(job: "Job", sizes: Sizes) -> str:
    """What was chosen and why, for a person."""
    whence = {"shard_size": "the largest that fits", "batch_size": "", "prefix_cache_mb": ""}
    if begun_shard_size(job.study, job.plan.record.run) is not None:
        whence["shard_size"] = "as the run began"
    parts = []
    for name, reason in whence.items():
        why = "given" if _is_given(job, name) and not reason.startswith("as") else reason
        parts.append(f"{name} {getattr(sizes, name)}" + (f" ({why})" if why else ""))
    return f"{', '.join(parts)}; within memory_gb {job.study.run.memory_gb:g}"


def _nothing_fits(job: "Job", least: Sizes) -> InputError:
    need = memory(job, least) / GIGABYTE / ROOM
    return InputError(
        "[run] memory_gb",
        f"at least {need:.2f}, what shard_size {least.shard_size}, batch_size {least.batch_size}, "
        f"prefix_cache_mb {least.prefix_cache_mb} take",
        f"{job.study.run.memory_gb:g}",
        "Raise it, leave out sizes that [run] sets, attribute fewer parameters, or take a solver "
        "that holds less. A run that was begun keeps its shard_size; another name begins anew.",
    )
