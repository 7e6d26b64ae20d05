"""Selection of batch, shard and cache sizes that keep a run within `[run] memory_gb`."""

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
LARGE_BATCH_SIZES = (128, 64)
"""Batch sizes for which memory is left; each query's vector is read from memory once a batch."""
MAX_LARGE_BATCH_TOKENS = 8192
"""Tokens of a large batch, with padding: activations are no part of the memory model."""
GIGABYTE = 2**30
PREFIX_KEYS = ("prefix_cache_mb", "prefix_disk_mb")
MEMORY_FRACTION = 0.9
"""Fraction of `memory_gb` that the forecast may use, since measured peaks were up to 9 % above
their forecast."""
DISK_FRACTION = 0.25
"""Fraction of the free disk that hidden-state files may use without being requested."""


def fit_to_memory(context: RunContext) -> RunContext:
    """Return the context with sizes that fit into `[run] memory_gb`; unchanged without that limit.

    Raises:
        InputError: No sizes fit.
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
    """Add a disk cache for hidden states that do not fit into memory, if it saves time."""

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
    """Return the size in megabytes of the disk cache of hidden states, or 0 for none.

    A disk cache is used if the frozen layers would otherwise run more than once for a training row,
    or if the files exist already, and if it needs at most `DISK_FRACTION` of the free disk.

    Args:
        workload: Workload of the run with the selected sizes.
        free_bytes: Free bytes of the disk.
        are_written: Function that returns whether the files for a given size exist.
    """
    kept_bytes = workload.sizes.prefix_cache_mb * MEGABYTE
    missing_bytes = sum(max(0, nbytes - kept_bytes) for nbytes in workload.hidden_bytes)
    megabytes = -(-missing_bytes // MEGABYTE)
    if megabytes * MEGABYTE > DISK_FRACTION * free_bytes:
        return 0
    is_worth_it = megabytes and (are_written(megabytes) or count_passes(workload) > 1)
    return megabytes if is_worth_it else 0


def choose_sizes(workload: Workload, run: Run, begun_shard_size: int | None = None) -> Sizes:
    """Select the largest shard size that fits into memory with batches of up to 32 examples.

    The remaining memory is used to cache hidden states, then for larger batches. Large shards save
    time, since each pass over the training rows serves all queries of a shard.

    Args:
        workload: Workload of the run; its sizes are ignored.
        run: Section `[run]`; sizes that it sets are kept.
        begun_shard_size: Shard size of a resumed run, which is kept; None for a new run.

    Raises:
        InputError: No sizes fit.
    """
    assert run.memory_gb is not None
    limit = round(run.memory_gb * MEMORY_FRACTION * GIGABYTE)
    options = {
        sizes: estimate_peak_memory(replace(workload, sizes=sizes))
        for sizes in _generate_sizes(workload.queries.rows, run, begun_shard_size)
    }
    for sizes, memory in options.items():
        if memory <= limit:
            if not _is_given(run, "prefix_cache_mb"):
                sizes = _add_prefix_cache(workload, sizes, limit - memory)
            return sizes if _is_given(run, "batch_size") else _enlarge_batch(workload, sizes, limit)
    raise _make_nothing_fits_error(run, *min(options.items(), key=lambda option: option[1]))


def _generate_sizes(queries: int, run: Run, begun_shard_size: int | None) -> Iterator[Sizes]:
    """Yield the sizes to try, in order of preference, with the least hidden states in memory."""
    prefix = run.prefix_cache_mb if _is_given(run, "prefix_cache_mb") else 0
    for batch_size in (run.batch_size,) if _is_given(run, "batch_size") else BATCH_SIZES:
        for shard_size in _list_shard_sizes(queries, run, begun_shard_size):
            yield Sizes(shard_size, batch_size, prefix)


def _list_shard_sizes(queries: int, run: Run, begun_shard_size: int | None) -> tuple[int, ...]:
    """Return the shard sizes to try, largest first, up to the number of queries."""
    if begun_shard_size is not None:
        return (begun_shard_size,)
    if _is_given(run, "shard_size"):
        return (run.shard_size,)
    return tuple(size for size in SHARD_SIZES if size <= queries) or (queries,)


def _add_prefix_cache(workload: Workload, sizes: Sizes, free: int) -> Sizes:
    """Use the free memory to cache hidden states; each of the two tables has this budget."""
    small, large = sorted(workload.hidden_bytes)
    room = max(free // 2, free - small)
    return replace(sizes, prefix_cache_mb=min(-(-large // MEGABYTE), room // MEGABYTE))


def _enlarge_batch(workload: Workload, sizes: Sizes, limit: int) -> Sizes:
    """Return the sizes with the largest batch that fits, or unchanged."""
    longest = max(1, workload.train.longest, workload.queries.longest)  # a text may have no token
    largest = min(MAX_LARGE_BATCH_TOKENS // longest, workload.train.rows)
    for batch_size in LARGE_BATCH_SIZES:
        larger = replace(sizes, batch_size=batch_size)
        memory = estimate_peak_memory(replace(workload, sizes=larger))
        if batch_size <= largest and memory <= limit:
            return larger
    return sizes


def _is_given(run: Run, name: str) -> bool:
    return name in run.model_fields_set


def _describe_sizes(run: Run, sizes: Sizes, begun_shard_size: int | None) -> str:
    """Describe the selected sizes and the reasons in one line."""
    reasons = {"shard_size": "the largest that fits", "batch_size": "", "prefix_cache_mb": ""}
    if begun_shard_size is not None:
        reasons["shard_size"] = "as at the start of the run"
    clauses = []
    for name, reason in reasons.items():
        note = "given" if _is_given(run, name) and not reason.startswith("as") else reason
        clauses.append(f"{name} {getattr(sizes, name)}" + (f" ({note})" if note else ""))
    return f"{', '.join(clauses)}; within memory_gb {run.memory_gb:g}"


def _make_nothing_fits_error(run: Run, sizes: Sizes, memory: int) -> InputError:
    return InputError(
        "[run] memory_gb",
        f"at least {memory / GIGABYTE / MEMORY_FRACTION:.2f} for shard_size {sizes.shard_size}, "
        f"batch_size {sizes.batch_size}, prefix_cache_mb {sizes.prefix_cache_mb}",
        f"{run.memory_gb:g}",
        "Raise it, remove sizes set in [run], attribute fewer parameters, or use a solver that "
        "needs less memory. A resumed run keeps its shard_size; a run with another name does not.",
    )
