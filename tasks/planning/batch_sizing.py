"""The sizes of a run that keep it within `[run] memory_gb`."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from fastif import InputError
from storage.atomic import count_free_bytes
from tasks.models.hidden_state_cache import MEGABYTE
from tasks.planning.cost_model import count_passes
from tasks.planning.memory import estimate_peak_memory
from tasks.planning.workload import Sizes, Workload, make_workload
from tasks.run.context import RunContext
from tasks.run.hidden_states import count_unwritten_bytes
from tasks.run.members import replace_plan, replace_study
from tasks.run.spec import list_planned_shards, read_begun_shard_size
from tasks.study.sections import Run

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
    run = context.study.run
    if run.memory_gb is None:
        return context
    begun_shard_size = read_begun_shard_size(context.study, context.plan.record.run)
    sizes = choose_sizes(make_workload(context, ()), run, begun_shard_size)
    chosen = {"batch_size": sizes.batch_size, "prefix_cache_mb": sizes.prefix_cache_mb}
    study = context.study.model_copy(update={"run": run.model_copy(update=chosen)})
    sized_context = replace_study(context, study)
    record = replace(context.plan.record, shard_size=sizes.shard_size)
    description = _describe_sizes(run, sizes, begun_shard_size)
    plan = replace(sized_context.plan, record=record, sizes=description)
    sized_context = replace_plan(sized_context, plan)
    is_given = any(_is_given(run, key) for key in PREFIX_KEYS)
    return sized_context if is_given else _add_prefix_disk(sized_context)


def _add_prefix_disk(context: RunContext) -> RunContext:
    """The same with room on the disk for hidden states that memory has none for, if worth it."""

    def add(megabytes: int) -> RunContext:
        run = context.study.run.model_copy(update={"prefix_disk_mb": megabytes})
        sized_context = replace_study(context, context.study.model_copy(update={"run": run}))
        description = f"{context.plan.sizes}; prefix_disk_mb {megabytes}"
        return replace_plan(sized_context, replace(sized_context.plan, sizes=description))

    workload = make_workload(context, list_planned_shards(context.plan))
    free = count_free_bytes(context.plan.store_path)
    megabytes = choose_prefix_disk_mb(workload, free, lambda mb: not count_unwritten_bytes(add(mb)))
    return add(megabytes) if megabytes else context


def choose_prefix_disk_mb(
    workload: Workload, free_bytes: int, are_written: Callable[[int], bool]
) -> int:
    """Megabytes of disk for all hidden states that memory has no room for, or 0.

    They are worth it where the frozen layers would else be asked more than once for a training row,
    or the files are there already, and no more than a part of the free disk.

    Args:
        workload: the run, with the sizes that were chosen.
        free_bytes: of the disk.
        are_written: whether the files for so many megabytes are there.
    """
    kept_bytes = workload.sizes.prefix_cache_mb * MEGABYTE
    missing_bytes = sum(max(0, nbytes - kept_bytes) for nbytes in workload.hidden_bytes)
    megabytes = -(-missing_bytes // MEGABYTE)
    if megabytes * MEGABYTE > DISK_FRACTION * free_bytes:
        return 0
    is_worth_it = megabytes and (are_written(megabytes) or count_passes(workload) > 1)
    return megabytes if is_worth_it else 0


def choose_sizes(workload: Workload, run: Run, begun_shard_size: int | None = None) -> Sizes:
    """The largest batches, then the largest shards that fit; hidden states take what is left.

    A larger shard is the better use of memory: every pass over the training rows serves all of its
    queries.

    Args:
        workload: the run; its own sizes are not used.
        run: the section, whose keys that are given are kept.
        begun_shard_size: of a run that was begun, which is kept too.

    Raises:
        InputError: nothing fits.
    """
    assert run.memory_gb is not None
    limit = round(run.memory_gb * MEMORY_FRACTION * GIGABYTE)
    options = {
        sizes: estimate_peak_memory(replace(workload, sizes=sizes))
        for sizes in _generate_sizes(workload.queries.rows, run, begun_shard_size)
    }
    for sizes, memory in options.items():
        if memory <= limit:
            is_given = _is_given(run, "prefix_cache_mb")
            return sizes if is_given else _add_prefix_cache(workload, sizes, limit - memory)
    raise _make_nothing_fits_error(run, *min(options.items(), key=lambda option: option[1]))


def _generate_sizes(queries: int, run: Run, begun_shard_size: int | None) -> Iterator[Sizes]:
    """What to try in order, with as few hidden states in memory as may be."""
    prefix = run.prefix_cache_mb if _is_given(run, "prefix_cache_mb") else 0
    for batch_size in (run.batch_size,) if _is_given(run, "batch_size") else BATCH_SIZES:
        for shard_size in _list_shard_sizes(queries, run, begun_shard_size):
            yield Sizes(shard_size, batch_size, prefix)


def _list_shard_sizes(queries: int, run: Run, begun_shard_size: int | None) -> tuple[int, ...]:
    """The shard sizes to try, the largest first; none has room for more than all queries."""
    if begun_shard_size is not None:
        return (begun_shard_size,)
    if _is_given(run, "shard_size"):
        return (run.shard_size,)
    return tuple(size for size in SHARD_SIZES if size <= queries) or (queries,)


def _add_prefix_cache(workload: Workload, sizes: Sizes, free: int) -> Sizes:
    """Each of the two tables has this budget; the smaller one may need less."""
    small, large = sorted(workload.hidden_bytes)
    room = max(free // 2, free - small)
    return replace(sizes, prefix_cache_mb=min(-(-large // MEGABYTE), room // MEGABYTE))


def _is_given(run: Run, name: str) -> bool:
    return name in run.model_fields_set


def _describe_sizes(run: Run, sizes: Sizes, begun_shard_size: int | None) -> str:
    """What was chosen and why, for a person."""
    reasons = {"shard_size": "the largest that fits", "batch_size": "", "prefix_cache_mb": ""}
    if begun_shard_size is not None:
        reasons["shard_size"] = "as the run began"
    clauses = []
    for name, reason in reasons.items():
        note = "given" if _is_given(run, name) and not reason.startswith("as") else reason
        clauses.append(f"{name} {getattr(sizes, name)}" + (f" ({note})" if note else ""))
    return f"{', '.join(clauses)}; within memory_gb {run.memory_gb:g}"


def _make_nothing_fits_error(run: Run, sizes: Sizes, memory: int) -> InputError:
    return InputError(
        "[run] memory_gb",
        f"at least {memory / GIGABYTE / MEMORY_FRACTION:.2f}, what shard_size {sizes.shard_size}, "
        f"batch_size {sizes.batch_size}, prefix_cache_mb {sizes.prefix_cache_mb} take",
        f"{run.memory_gb:g}",
        "Raise it, leave out sizes that [run] sets, attribute fewer parameters, or take a solver "
        "that holds less. A run that was begun keeps its shard_size; another name begins anew.",
    )
