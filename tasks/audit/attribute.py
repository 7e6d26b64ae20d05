"""Attribution of one shard: from queries to committed scores."""

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import Tensor

import fastif
from fastif.attribution.row_parts import WHOLE, RowParts
from storage import Shard
from tasks.audit.frames import make_shard_frames, make_totals_frame
from tasks.audit.scan_part import read_parts, remove_parts
from tasks.audit.sketch_scores import attribute_without_rescoring
from tasks.planning.further_devices import LeasedDevices
from tasks.planning.open_run import lease_run
from tasks.run.assemble import make_attributor
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_query_examples
from tasks.run.reuse import NEW_ROW as NEW
from tasks.run.reuse import get_reuse, read_reused_frames
from tasks.run.slices import has_totals, make_slices
from tasks.run.spec import RunRef
from tasks.run.tree_run import get_tree_queries, make_tree_scan
from tasks.runtime.progress import progress_part
from tasks.runtime.retries import retry_if_transient
from tasks.runtime.shard_error import name_failed_shard

ORDER = {"scores": ("query", "rank"), "solves": ("query",), "queries": ("query",)}
"""Sort keys of the tables with one or more rows a query."""


@task(
    name="attribute-shard",
    task_run_name="shard-{shard.index}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=retry_if_transient,
)
def attribute_shard(shard: Shard, ref: RunRef, parts: int = 1) -> int:
    """Attribute the queries of a shard and commit their tables.

    Args:
        shard: Shard to attribute.
        ref: Reference of the run.
        parts: Number of parts of the training rows of which `scan_part` may have stored some; the
            others are scanned here.

    Returns:
        Number of queries.

    Raises:
        ShardError: The shard failed; the message gives the shard and its queries.
    """
    with (
        name_failed_shard(shard, ref.run),
        lease_run(ref) as context,
        progress_part("solving and scoring: training rows read"),
    ):
        ids, reuse = (
            fastif.all_ids(context.query_examples)[shard.start : shard.stop],
            get_reuse(context),
        )
        if reuse is None:
            frames = _attribute_queries(context, ids, read_parts(context, shard, parts))
        else:
            is_new = reuse.queries[ids] == NEW
            frame_sets = [_attribute_queries(context, ids[is_new])] if bool(is_new.any()) else []
            frame_sets += (
                [read_reused_frames(context, reuse, ids[~is_new])] if not bool(is_new.all()) else []
            )
            frames = {
                name: pl.concat([frame_set[name] for frame_set in frame_sets]).sort(*order)
                for name, order in ORDER.items()
            }
        context.store.commit(ref.run, shard.key, frames)
        remove_parts(context, shard, parts)
        return len(shard)


def _attribute_queries(
    context: RunContext, ids: Tensor, parts: RowParts = WHOLE
) -> dict[str, pl.DataFrame]:
    """Return the tables of queries without reusable scores."""
    outputs, losses = fastif.predict(context.objective, get_query_examples(context), ids=ids)
    if context.has_sketch_scores:
        return make_shard_frames(
            context, ids, attribute_without_rescoring(context, ids), outputs, losses
        )
    slices = make_slices(context, ids, outputs) if has_totals(context.study) else None
    numbers = None if slices is None else slices.numbers
    if context.study.has_trees:
        attribution = make_tree_scan(context)(get_tree_queries(context), ids, numbers)
    else:
        further = LeasedDevices(context, parts)
        attribution = make_attributor(context)(get_query_examples(context), ids, numbers, further)
    frames = make_shard_frames(context, ids, attribution, outputs, losses)
    if slices is not None and attribution.totals is not None:
        frames["totals"] = make_totals_frame(
            slices.count_queries(attribution.certificate), attribution.totals
        )
    return frames
