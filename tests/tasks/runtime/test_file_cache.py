"""A process reads each file once, and again when it changes.

Opens are counted by the interpreter's own audit events, whoever opens the file.
"""

import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from fastif import InputError
from storage import Store
from tasks.audit.attribute import attribute_shard
from tasks.audit.check_recall import check_recall
from tasks.audit.finalize import finish_run
from tasks.audit.prepare import build_index, describe_train, factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.audit.select_k import choose_candidates
from tasks.data.inputs import read_inputs, read_study
from tasks.models.locate import compute_model_digest
from tasks.planning.open_run import load_run, open_run, validate_run
from tasks.planning.start_run import start_run
from tasks.run.spec import list_missing_shards, plan_run
from tasks.runtime.file_cache import SETTLED_NS, FileVersion, is_settled
from tasks.study.errors import StudyError

_active: list[Counter] = []


def _count(event: str, arguments: tuple) -> None:
    if event == "open" and _active and isinstance(arguments[0], str | os.PathLike):
        _active[-1][os.fspath(arguments[0])] += 1


sys.addaudithook(_count)  # it stays for good, and counts nothing outside `counted_opens`


@contextmanager
def counted_opens():
    counter: Counter = Counter()
    _active.append(counter)
    try:
        yield counter
    finally:
        _active.remove(counter)


def settle() -> None:
    """Wait until files written just now are old enough to be cached."""
    time.sleep(2 * SETTLED_NS / 1e9)


def _audit(study: Path) -> tuple[Store, int]:
    """Plan and validate twice, as the command and then the flow do."""
    validate_run(plan_run(study))
    plan = plan_run(study)
    ref, store = plan.ref, start_run(plan).store
    for prepare in (describe_train, choose_damping, build_index, factor_curvature):
        prepare.fn(ref)
    choose_candidates.fn(ref)
    shards = list_missing_shards(store, ref.run)
    for shard in shards:
        attribute_shard.fn(shard, ref)
    finish_run.fn(ref, 1.0, check_recall.fn(ref))
    return store, len(shards)


@pytest.mark.long
@pytest.mark.parametrize("several", [False, True])
def test_an_audit_reads_study_tables_and_weights_once(world, several):
    models = {}
    if several:
        tiny.make_other(world, "other", seed=3)
        models = {"top": {"models": ["other"]}}
    study = tiny.write_study(world, **models)
    settle()
    with counted_opens() as opens:
        _, shards = _audit(study)
    assert shards > 1, "one shard would not show that shards read again"
    weights = [world / name / "model.safetensors" for name in ["model", "other"][: 1 + several]]
    for path in (study, world / "train.csv", world / "queries.csv", *weights):
        assert opens[str(path)] == 1, (path.name, opens[str(path)])


@pytest.mark.parametrize("name", ["train.csv", "queries.csv", "study.toml"])
def test_a_file_that_changes_is_read_again(world, name):
    """In place, with equal size and modification time: only the change time differs."""
    study = tiny.write_study(world)
    settle()
    before, path = read_inputs(study), world / name
    assert read_study(study) is before.study
    times, contents = path.stat(), path.read_bytes()
    old, new = (b"0.01", b"0.02") if name == "study.toml" else (b"the", b"was")
    assert old in contents
    path.write_bytes(contents.replace(old, new, 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    after = read_inputs(study)
    assert (after.train.digest != before.train.digest) == (name == "train.csv")
    assert (after.queries.digest != before.queries.digest) == (name == "queries.csv")
    assert (after.study != before.study) == (name == "study.toml")


def test_a_replaced_file_is_read_again(world):
    settle()
    before = compute_model_digest(world / "model")
    path = world / "model" / "model.safetensors"
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    other = path.with_suffix(".new")
    other.write_bytes(contents)
    other.replace(path)
    assert compute_model_digest(world / "model") != before


def test_a_file_written_just_now_is_not_cached(world):
    """Two writes within one tick of the clock have equal time stamps."""
    study = tiny.write_study(world)
    with counted_opens() as opens:
        read_study(study)
        read_study(study)
    assert opens[str(study)] == 2


def test_a_deleted_file_is_refused(world):
    settle()
    study = world / "study.toml"
    read_inputs(study)
    (world / "queries.csv").unlink()
    with pytest.raises(StudyError, match=r"queries\.csv"):
        read_inputs(study)


def test_a_model_that_changes_after_the_plan_is_refused_in_the_same_process(world):
    """The plan and its tables are passed on; the model is loaded again."""
    settle()
    plan = plan_run(world / "study.toml")
    path = world / "model" / "model.safetensors"
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)
    with pytest.raises(InputError, match="during a run"):
        open_run(plan)


def test_a_passed_plan_equals_the_plan_of_its_reference(world):
    plan = plan_run(world / "study.toml")
    context = open_run(plan)
    curvature = plan.inputs.study.curvature.model_copy(update={"rows": "all"})  # was "auto"
    study = plan.inputs.study.model_copy(update={"curvature": curvature})
    assert context.plan.inputs == replace(plan.inputs, study=study)
    assert context.plan.inputs.train is plan.inputs.train
    assert context.plan.inputs.queries is plan.inputs.queries
    assert open_run(plan.ref) is context
    assert load_run(plan) is not context


@pytest.mark.parametrize(
    ("modified", "changed", "age", "settled"),
    [
        (5_000_000_001, 5_000_000_001, 60_000_000, True),
        (5_000_000_001, 5_000_000_001, 40_000_000, False),
        (5_000_000_000, 5_000_000_000, 60_000_000, False),
        (4_000_000_000, 5_000_000_001, 2_900_000_000, False),
        (5_000_000_000, 5_000_000_000, 3_100_000_000, True),
    ],
)
def test_files_with_coarse_time_stamps_are_cached_later(modified, changed, age, settled):
    """A file system with ticks of two seconds gives two writes the same time stamp."""
    version = FileVersion(1, 2, 3, modified, changed)
    assert is_settled(version, max(modified, changed) + age) is settled
