"""Several workers write the same files as one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny
import torch

from fastif.attribution.parallel_scan import BucketQueue
from storage import Store
from tasks.audit.attribute import attribute_shard
from tasks.audit.finalize import finish_run
from tasks.audit.prepare import build_index, describe_train, factor_curvature
from tasks.audit.scan_part import read_parts, scan_part
from tasks.planning import further_devices
from tasks.planning.open_run import open_run
from tasks.run.spec import list_missing_shards, open_store, plan_run
from tasks.runtime.devices import DEVICE_LEASES, resolve_devices

SIZE = 5  # four shards
TWO = {"devices": ["cpu", "cpu"], "shard_size": SIZE}
SMALL = {"parameters": {"attributed": ["^classifier", "pooler"]}, "certificate": {"rows": 8}}
KINDS = {
    "dual": {"candidates": {"kind": "full", "keep": 9}},
    "hessian": {
        "curvature": {"kind": "hessian", "damping": 0.6, "rows": 20},
        "solver": {"kind": "cg", "tolerance": 1e-6},
    },
}


def files_of(root: Path) -> set[str]:
    """Digests of the files of all tables but `runs`, which contains times."""
    files = (str(path.relative_to(root)) for path in (root / "tables").rglob("*.parquet"))
    return {name for name in files if not name.startswith("tables/runs/")}


def prepare_run(study: Path) -> tuple[Store, object]:
    plan = plan_run(study)
    store = open_store(plan)
    for prepare in (describe_train, build_index, factor_curvature):
        prepare.fn(plan.ref)
    return store, plan.ref


def run_on_single_device(world: Path, **changes: dict) -> set[str]:
    study = tiny.write_study(world, "one.toml", run={"shard_size": SIZE}, **SMALL, **changes)
    tiny.run_directly(study)
    return files_of(world / "store")


@pytest.mark.default_cases("dual")
@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_side_by_side_write_the_bytes_of_one(world, kind):
    expected = run_on_single_device(world, **KINDS[kind])
    study = tiny.write_study(world, run=TWO, store={"path": "by-two"}, **SMALL, **KINDS[kind])
    store, ref = prepare_run(study)
    shards = list_missing_shards(store, ref.run)
    with ThreadPoolExecutor(4) as pool:  # more threads than devices: they wait for a lease
        assert sum(pool.map(lambda shard: attribute_shard.fn(shard, ref), shards)) == tiny.QUERIES
    finish_run.fn(ref, 1.0)
    assert files_of(world / "by-two") == expected
    assert len(expected) > 3 * len(shards) == 12, "there are no files to compare"


FULL = {
    "curvature": {"kind": "hessian", "damping": 0.6, "rows": 20},
    "solver": {"kind": "cg", "tolerance": 1e-6},
    "candidates": {"kind": "full", "keep": 9},
}


def scan_by_three(world: Path, monkeypatch, broken: int = 0) -> set[str]:
    """Attribute a single shard by three devices, of which some cannot load a model."""
    run = {"devices": ["cpu"] * 3, "shard_size": 50, "batch_size": 4}
    study = tiny.write_study(world, run=run, store={"path": "by-three"}, **SMALL, **FULL)
    store, ref = prepare_run(study)
    for device in resolve_devices(run["devices"]):
        open_run(ref, device)  # loading takes longer than the scan of a tiny table

    def open_or_fail(ref, device):
        if device.place >= 3 - broken:
            raise torch.OutOfMemoryError("out of memory: tried to allocate 2 GiB")
        return open_run(ref, device)

    joined, barrier = set(), threading.Barrier(3 - broken)
    take = BucketQueue.take

    def take_together(self):
        if threading.get_ident() not in joined:  # nobody scans before all have joined
            joined.add(threading.get_ident())
            barrier.wait(60)
        return take(self)

    monkeypatch.setattr(further_devices, "open_run", open_or_fail)
    monkeypatch.setattr(BucketQueue, "take", take_together)
    (shard,) = list_missing_shards(store, ref.run)
    attribute_shard.fn(shard, ref)
    finish_run.fn(ref, 1.0)
    assert len(joined) == 3 - broken
    return files_of(world / "by-three")


@pytest.mark.default_cases("1 of 3 broken")
@pytest.mark.parametrize(
    "broken", [0, 1, pytest.param(2, marks=pytest.mark.long)], ids="{} of 3 broken".format
)
def test_three_devices_share_the_scan_of_a_single_shard(world, monkeypatch, capsys, broken):
    run = {"shard_size": 50, "batch_size": 4}
    tiny.run_directly(tiny.write_study(world, "one.toml", run=run, **SMALL, **FULL))
    assert scan_by_three(world, monkeypatch, broken) == files_of(world / "store")
    assert capsys.readouterr().err.count("A device left the scan") == broken


@pytest.mark.long
def test_each_worker_alone_writes_the_same_bytes(world):
    expected = run_on_single_device(world)
    study = tiny.write_study(world, run=TWO, store={"path": "by-two"}, **SMALL)
    store, ref = prepare_run(study)
    first, *rest = list_missing_shards(store, ref.run)
    attribute_shard.fn(first, ref)
    with DEVICE_LEASES.lease_first_free(resolve_devices(TWO["devices"])) as taken:
        assert taken.place == 0
        for shard in rest:
            attribute_shard.fn(shard, ref)  # by the second
    assert files_of(world / "by-two") == expected


@pytest.mark.long
@pytest.mark.flow
def test_the_flow_of_two_workers_writes_the_bytes_of_one(world, prefect):
    from flows.audit import audit

    expected = run_on_single_device(world)
    audit(str(tiny.write_study(world, run=TWO, store={"path": "by-two"}, **SMALL)))
    assert files_of(world / "by-two") == expected


DIRECT = {**FULL, "solver": {"kind": "direct"}}


@pytest.mark.default_cases("a lost part")
@pytest.mark.parametrize("lost", [(), (1,)], ids=["all parts", "a lost part"])
def test_parts_of_the_rows_scanned_by_workers_give_the_files_of_one(world, lost):
    run = {"shard_size": 50, "batch_size": 4}
    tiny.run_directly(tiny.write_study(world, "one.toml", run=run, **SMALL, **DIRECT))
    study = tiny.write_study(world, run=run, store={"path": "by-parts"}, **SMALL, **DIRECT)
    store, ref = prepare_run(study)
    (shard,) = list_missing_shards(store, ref.run)
    for place in set(range(3)) - set(lost):
        assert scan_part.fn(shard, ref, place, 3)
    context = open_run(ref)
    parts = read_parts(context, shard, 3)
    assert (parts.places, len(parts.scanned)) == (lost, 3 - len(lost))
    attribute_shard.fn(shard, ref, 3)
    finish_run.fn(ref, 1.0)
    assert files_of(world / "by-parts") == files_of(world / "store")
    assert read_parts(context, shard, 3).scanned == [], "parts of a committed shard are removed"


def test_a_solve_that_costs_as_much_as_the_scan_is_not_repeated_by_every_worker(world):
    study = tiny.write_study(world, run={"shard_size": 50}, **SMALL, **FULL)
    store, ref = prepare_run(study)
    (shard,) = list_missing_shards(store, ref.run)
    assert not scan_part.fn(shard, ref, 0, 3)
