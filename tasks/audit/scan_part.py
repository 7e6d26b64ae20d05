"""Part of the scan of a shard: a worker scores some of the training rows and stores the best."""

from collections.abc import Iterator

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from safetensors.torch import load_file, save_file

import fastif
from fastif.attribution.influence import NO_EXAMPLE, Influences
from fastif.attribution.row_parts import WHOLE, RowParts, ScannedPart
from storage import Shard, compute_fingerprint
from tasks.planning.further_devices import LeasedDevices
from tasks.planning.open_run import lease_run
from tasks.run.assemble import make_attributor
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_query_examples
from tasks.run.reuse import get_reuse
from tasks.run.slices import has_totals, make_slices
from tasks.run.spec import RunRef
from tasks.runtime.progress import progress_part
from tasks.runtime.retries import retry_if_transient
from tasks.runtime.shard_error import name_failed_shard
from tasks.runtime.versions import INFLUENCE_VERSION

FILE = "part.safetensors"
CHEAP_SOLVERS = ("direct", "spectral")
"""Solvers that multiply by a stored factor: every worker solves the queries again."""


def can_split(context: RunContext) -> bool:
    """Whether workers save time by a scan of a part of the training rows each."""
    is_full_scan = not context.study.candidates.methods and not context.has_sketch_scores
    if context.study.has_trees:
        return False  # rounds follow each other, so a part of the rows takes as long
    is_cheap = context.solver.kind in CHEAP_SOLVERS and not context.is_unrolled
    return is_full_scan and is_cheap and get_reuse(context) is None


@task(
    name="scan-part",
    task_run_name="shard-{shard.index}-part-{place}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=retry_if_transient,
)
def scan_part(shard: Shard, ref: RunRef, place: int, count: int) -> bool:
    """Score a part of the training rows for the queries of a shard, and store the best of them.

    Args:
        shard: Shard of the queries.
        ref: Reference of the run.
        place: Number of the part, from 0.
        count: Number of parts.

    Returns:
        Whether the part is stored. A part with queries that are left out is not, since
        `attribute_shard` has to see why.
    """
    with (
        name_failed_shard(shard, ref.run),
        lease_run(ref) as context,
        progress_part("solving and scoring: training rows read"),
    ):
        if not can_split(context):
            return False
        kind, digest = _name_part(context, shard, place, count)
        if context.store.find_artifact(kind, digest) is None:
            tensors = _scan(context, shard, RowParts(count, (place,)))
            if bool((tensors["ids"] == NO_EXAMPLE).any()):
                return False
            context.store.write_artifact(kind, digest, lambda path: save_file(tensors, path / FILE))
        return True


def read_parts(context: RunContext, shard: Shard, count: int) -> RowParts:
    """Return the parts of a shard that are stored, and the places of those that are not."""
    if count == 1:
        return WHOLE
    missing, scanned = [], []
    for place in range(count):
        folder = context.store.find_artifact(*_name_part(context, shard, place, count))
        if folder is None:
            missing.append(place)
        else:
            scanned.append(_make_part(load_file(folder / FILE)))
    return RowParts(count, tuple(missing), scanned)


def remove_parts(context: RunContext, shard: Shard, count: int) -> None:
    """Remove the parts of a shard that is committed."""
    if count > 1:
        context.store.retain_artifacts(_name_part(context, shard, 0, count)[0], set())


def _scan(context: RunContext, shard: Shard, parts: RowParts) -> dict[str, torch.Tensor]:
    queries = get_query_examples(context)
    ids = fastif.all_ids(context.query_examples)[shard.start : shard.stop]
    slices = None
    if has_totals(context.study):
        outputs, _ = fastif.predict(context.objective, queries, ids=ids)
        slices = make_slices(context, ids, outputs).numbers
    attribution = make_attributor(context)(queries, ids, slices, LeasedDevices(context, parts))
    return dict(_iterate_tensors(attribution))


def _iterate_tensors(attribution: fastif.Attribution) -> Iterator[tuple[str, torch.Tensor]]:
    influences = attribution.influences
    for name in ("ids", "removal_effect", "spread", "ranking_score", "nonfinite_ids"):
        tensor = getattr(influences, name)
        if tensor is not None:
            yield name, tensor.contiguous()
    if attribution.totals is not None:
        yield "totals", attribution.totals.effects


def _make_part(tensors: dict[str, torch.Tensor]) -> ScannedPart:
    totals = tensors.pop("totals", None)
    return ScannedPart(Influences(**tensors), totals)


def _name_part(context: RunContext, shard: Shard, place: int, count: int) -> tuple[str, str]:
    """Return the kind and the cache key of a part."""
    ref = context.plan.ref
    parts = {"mathematics": INFLUENCE_VERSION, "run": ref.run, "inputs": ref.fingerprint}
    parts |= {"queries": [shard.start, shard.stop]}
    shard_digest = compute_fingerprint(parts)
    return f"parts-{shard_digest[:16]}", compute_fingerprint({**parts, "part": [place, count]})
