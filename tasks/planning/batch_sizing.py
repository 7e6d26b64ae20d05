"""The sizes of a run that keep it within `[run] memory_gb`."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from fastif import InputError
from storage.atomic import count_free_bytes
from tasks.models.hidden_state_cache import MEGABYTE
from tasks.planning.cost_model import count_passes, estimate_work
from tasks.planning.memory import (
    Sizes,
    estimate_peak_memory,
    hidden_bytes,
)
from tasks.run.context import RunContext
from tasks.run.hidden_states import count_unwritten_bytes
from tasks.run.members import replace_plan, replace_study
from tasks.run.spec import list_planned_shards, read_begun_shard_size

SHARD_SIZES = (512, 256, 128, 64, 32, 16, 8)
BATCH_SIZES = (32, 16, 8, 4, 2, 1)
GIGABYTE = 2**30
PREFIX_KEYS = ("prefix_cache_mb", "prefix_disk_mb")
MEMORY_FRACTION = 0.9
"""Of memory_gb, what the forecast may fill: peaks were measured up to 9 % above their forecast."""
DISK_FRACTION = 0.25
"""Of what is free, that files are written to without being asked for."""


def fit_to_memory(context: RunContext) -> RunContext:
    """The context with sizes that fit into the study's memory; as it is if no bound is named.

    Raises:
        InputError: nothing fits.
    """
    if context.study.run.memory_gb is None:
        return context
    sizes = choose_sizes(context)
    run = context.study.run.model_copy(
        update={"batch_size": sizes.batch_size, "prefix_cache_mb": sizes.prefix_cache_mb}
    )
    sized_context = replace_study(context, context.study.model_copy(update={"run": run}))
    record = replace(context.plan.record, shard_size=sizes.shard_size)
    sized_context = replace_plan(
        sized_context,
        replace(sized_context.plan, record=record, sizes=_describe_sizes(context, sizes)),
    )
    return (
        sized_context
        if any(map(partial(_is_given, context), PREFIX_KEYS))
        else _add_prefix_disk(sized_context)
    )


def _add_prefix_disk(context: RunContext) -> RunContext:
    """The same with room on the disk for hidden states that memory has none for, if worth it."""
    megabytes = _choose_prefix_disk_mb(context)
    if not megabytes:
        return context
    run = context.study.run.model_copy(update={"prefix_disk_mb": megabytes})
    sized_context = replace_study(context, context.study.model_copy(update={"run": run}))
    return replace_plan(
        sized_context,
        replace(sized_context.plan, sizes=f"{context.plan.sizes}; prefix_disk_mb {megabytes}"),
    )


def _choose_prefix_disk_mb(context: RunContext) -> int:
    """Megabytes of disk for all hidden states that memory has no room for, or 0.

    They are worth it where the frozen layers would else be asked more than once for a training row,
    or the files are there already, and no more than a part of the free disk.
    """
    missing_bytes = sum(
        max(0, table_bytes - context.study.run.prefix_cache_mb * MEGABYTE)
        for table_bytes in hidden_bytes(context)
    )
    megabytes = -(-missing_bytes // MEGABYTE)
    free = count_free_bytes(context.plan.store_path)
    if not megabytes or megabytes * MEGABYTE > DISK_FRACTION * free:
        return 0
    run = context.study.run.model_copy(update={"prefix_disk_mb": megabytes})
    with_disk = replace_study(context, context.study.model_copy(update={"run": run}))
    if not count_unwritten_bytes(with_disk):
        return megabytes
    return (
        megabytes
        if count_passes(context, estimate_work(context, list_planned_shards(context.plan))) > 1
        else 0
    )


def choose_sizes(context: RunContext) -> Sizes:
    """The largest batches, then the largest shards that fit; hidden states take what is left.

    A larger shard is the better use of memory: every pass over the training rows serves all of its
    queries. What the study or a run that was begun says is kept.

    Raises:
        InputError: nothing fits.
    """
    limit = context.study.run.memory_gb
    assert limit is not None
    options = list(_generate_sizes(context))
    for option in options:
        free = round(limit * MEMORY_FRACTION * GIGABYTE) - estimate_peak_memory(context, option)
        if free >= 0:
            return (
                option
                if _is_given(context, "prefix_cache_mb")
                else _add_prefix_cache(context, option, free)
            )
    raise _make_nothing_fits_error(
        context, min(options, key=lambda sizes: estimate_peak_memory(context, sizes))
    )


def _generate_sizes(context: RunContext) -> Iterator[Sizes]:
    """What to try in order, with as few hidden states in memory as may be."""
    run, shards = context.study.run, _list_shard_sizes(context)
    prefix = run.prefix_cache_mb if _is_given(context, "prefix_cache_mb") else 0
    for batch_size in (run.batch_size,) if _is_given(context, "batch_size") else BATCH_SIZES:
        for shard_size in shards:
            yield Sizes(shard_size, batch_size, prefix)


def _list_shard_sizes(context: RunContext) -> tuple[int, ...]:
    """The shard sizes to try, the largest first; none has room for more than all queries."""
    given = read_begun_shard_size(context.study, context.plan.record.run)
    if given is None and _is_given(context, "shard_size"):
        given = context.study.run.shard_size
    if given is not None:
        return (given,)
    queries = len(context.query_texts)
    return tuple(size for size in SHARD_SIZES if size <= queries) or (queries,)


def _add_prefix_cache(context: RunContext, sizes: Sizes, free: int) -> Sizes:
    """Each of the two tables has this budget; the smaller one may need less."""
    small, large = sorted(hidden_bytes(context))
    room = max(free // 2, free - small)
    return replace(sizes, prefix_cache_mb=min(-(-large // MEGABYTE), room // MEGABYTE))


def _is_given(context: RunContext, name: str) -> bool:
    return name in context.study.run.model_fields_set


def _describe_sizes(context: RunContext, sizes: Sizes) -> str:
    """What was chosen and why, for a person."""
    reasons = {"shard_size": "the largest that fits", "batch_size": "", "prefix_cache_mb": ""}
    if read_begun_shard_size(context.study, context.plan.record.run) is not None:
        reasons["shard_size"] = "as the run began"
    clauses = []
    for name, reason in reasons.items():
        note = "given" if _is_given(context, name) and not reason.startswith("as") else reason
        clauses.append(f"{name} {getattr(sizes, name)}" + (f" ({note})" if note else ""))
    return f"{', '.join(clauses)}; within memory_gb {context.study.run.memory_gb:g}"


def _make_nothing_fits_error(context: RunContext, sizes: Sizes) -> InputError:
    needed = estimate_peak_memory(context, sizes) / GIGABYTE / MEMORY_FRACTION
    return InputError(
        "[run] memory_gb",
        f"at least {needed:.2f}, what shard_size {sizes.shard_size}, batch_size "
        f"{sizes.batch_size}, "
        f"prefix_cache_mb {sizes.prefix_cache_mb} take",
        f"{context.study.run.memory_gb:g}",
        "Raise it, leave out sizes that [run] sets, attribute fewer parameters, or take a solver "
        "that holds less. A run that was begun keeps its shard_size; another name begins anew.",
    )
