"""Recorder of a training: what is written is what was trained, also when it is interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from fastif import CrossEntropy, InputError, ModuleObjective
from fastif.unrolled import recorder
from fastif.unrolled.saved_record import open_record
from fastif.unrolled.stored_states import plan_states
from tests.fastif.unrolled import small_trainings as small
from tests.fastif.unrolled.recorded_trainings import (
    examples,
    make_groups,
    make_recorder,
    open_trained,
    repeat,
    train,
    train_step,
)
from tests.fastif.unrolled.small_trainings import CASES


@pytest.mark.parametrize("name", CASES)
def test_the_record_repeated_by_torch_ends_in_the_same_weights_bit_for_bit(tmp_path, name):
    module = train(tmp_path / "record", CASES[name])
    record = open_trained(tmp_path / "record", module)
    again = repeat(record, CASES[name])
    for first, second in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["momentum", "clipped adamw"])
def test_the_record_equals_the_one_that_was_kept_in_memory(tmp_path, name):
    kept = small.train(CASES[name], segment=1).record
    module = train(tmp_path / "record", CASES[name], saves=(4,))
    record = open_trained(tmp_path / "record", module)
    assert (record.optimizer, record.groups, record.count) == (
        kept.optimizer,
        kept.groups,
        kept.count,
    )
    assert torch.equal(record.learning_rates, kept.learning_rates)
    assert all(torch.equal(a, b) for a, b in zip(record.batches, kept.batches, strict=True))
    assert record.state_steps == (0, 3, 6, 9)
    assert record.weights_digest == kept.weights_digest
    for step in record.state_steps:
        on_disk, in_memory = record.load_state(step), kept.load_state(step)
        assert torch.equal(on_disk.params, in_memory.params)
        assert len(on_disk.moments) == len(in_memory.moments)
        assert all(
            torch.equal(a, b) for a, b in zip(on_disk.moments, in_memory.moments, strict=True)
        )


def test_states_come_in_the_order_of_the_objective(tmp_path):
    """An objective may list the parameters in another order than the recorder did."""
    module = train(tmp_path / "record", CASES["adamw"])
    objective = ModuleObjective(module, CrossEntropy())
    straight = open_record(tmp_path / "record", objective, examples())
    names = tuple(reversed(objective.space.names))
    objective.params = {name: objective.params[name] for name in names}
    objective.space = type(objective.space).from_params(objective.params)
    turned = open_record(tmp_path / "record", objective, examples())
    first, second = straight.load_state(6), turned.load_state(6)
    sizes = [module.get_parameter(name).numel() for name in reversed(names)]
    for vector, reordered in zip(
        (first.params, *first.moments), (second.params, *second.moments), strict=True
    ):
        parts = list(vector.split(sizes))
        assert torch.equal(torch.cat(parts[::-1]), reordered)
    assert turned.weights_digest != straight.weights_digest


def test_disk_use_is_bounded_and_as_planned(tmp_path):
    """53 numbers of 8 bytes: the first state is one vector, each other state of AdamW three."""
    size = 8 * sum(p.numel() for p in small.make_module().parameters())
    train(tmp_path / "full", CASES["adamw"])
    train(tmp_path / "small", CASES["adamw"], max_bytes=5.0 * size)
    counts = [len(list((tmp_path / name).glob("state-*"))) for name in ("full", "small")]
    assert counts == [4, 2]
    steps, planned = plan_states(
        dict(small.make_module().named_parameters()), 2, len(small.draw_batches()), 7.0 * size
    )
    assert (steps, planned) == ((0, 4, 9), 7 * size)


def test_a_training_that_ends_early_has_its_last_state(tmp_path):
    case, module = CASES["adam"], small.make_module()
    params, optimizer = dict(module.named_parameters()), None
    optimizer = case.make_optimizer(make_groups(module))
    recorder = make_recorder(tmp_path / "record", case)
    recorder.start(params)
    for ids in small.draw_batches()[:5]:
        train_step(module, optimizer, case, ids)
        recorder.add_step(ids, [case.rate, case.rate], params, optimizer)
    with pytest.raises(InputError, match="interrupted, or that is still running"):
        open_trained(tmp_path / "record", module)
    recorder.finish(params)
    assert open_trained(tmp_path / "record", module).state_steps == (0, 3, 5)


def test_an_interrupted_training_is_continued_from_its_checkpoint(tmp_path):
    """The first process records seven steps and is gone; the second resumes from step 4."""
    case, batches = CASES["adamw"], small.draw_batches()
    module = small.make_module()
    params, optimizer = (
        dict(module.named_parameters()),
        case.make_optimizer(make_groups(module)),
    )
    recorder = make_recorder(tmp_path / "record", case)
    recorder.start(params)
    for step, ids in enumerate(batches[:7], start=1):
        train_step(module, optimizer, case, ids)
        recorder.add_step(ids, [case.rate, case.rate], params, optimizer)
        if step == 4:
            recorder.save_progress(params)
            saved = [{k: v.clone() for k, v in module.state_dict().items()}, optimizer.state_dict()]
            saved[1] = torch.utils._pytree.tree_map(
                lambda v: v.clone() if isinstance(v, torch.Tensor) else v, saved[1]
            )
    later = make_recorder(tmp_path / "record", case)
    with pytest.raises(InputError, match="other parameters at step 4"):
        later.resume(4, params)
    with pytest.raises(InputError, match="steps 4 to continue from"):
        later.resume(3, params)
    module.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    later.resume(4, params)
    for ids in batches[4:]:
        train_step(module, optimizer, case, ids)
        later.add_step(ids, [case.rate, case.rate], params, optimizer)
    later.finish(params)
    record = open_trained(tmp_path / "record", module)
    assert record.state_steps == (0, 3, 6, 9)
    again = repeat(record, case)
    for first, second in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_finished_record_is_never_overwritten(tmp_path):
    module = train(tmp_path / "record", CASES["adamw"])
    with pytest.raises(InputError, match="a finished record"):
        train(tmp_path / "record", CASES["adamw"])
    open_trained(tmp_path / "record", module)
    shutil.copytree(tmp_path / "record", tmp_path / "mine")
    (tmp_path / "mine" / "record.json").unlink()
    with pytest.raises(InputError, match="other files"):
        train(tmp_path / "mine", CASES["adamw"])


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.fastif.unrolled import recorded_trainings as test
import fastif.unrolled.record_files as files
kind, at, calls = sys.argv[2], int(sys.argv[3]), 0
replace = os.replace
def kill(source, target):
    global calls
    calls += 1
    if calls == at and kind == "before": os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if calls == at: os.kill(os.getpid(), signal.SIGKILL)
files.os.replace = kill
test.train(Path(sys.argv[1]), test.small.CASES["adamw"], saves=(4,))
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", ["before", pytest.param("after", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "at", [5, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 2, 3, 4, 6, 7, 8, 9, 10, 12))]
)
def test_a_killed_writer_leaves_an_unfinished_record_that_is_refused_and_replaced(
    tmp_path, kind, at
):
    """Killed at a rename: of a file or of the manifest, before or after it."""
    folder = tmp_path / "record"
    command = [sys.executable, "-c", KILLED, str(folder), kind, str(at)]
    process = subprocess.run(command, env=os.environ, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-500:]
    assert not (folder / "record.json").exists()
    unfinished = folder / "recording.json"
    if unfinished.exists():
        manifest = json.loads(unfinished.read_text())
        for file in (manifest["rows"], *manifest["chunks"], *manifest["states"]):
            load_file(folder / file["name"])
    else:
        shutil.rmtree(folder)
    module = train(folder, CASES["adamw"])
    assert open_trained(folder, module).num_steps == 9


def test_states_are_fewer_where_they_take_too_much_of_the_time(tmp_path, monkeypatch):
    """By a clock of one second a call a step takes 1 s and a state 3 s, so three take all the time
    of nine steps. What is written before the fifth step, after which the time is known, stays."""
    seconds = iter(range(1000))
    monkeypatch.setattr(recorder.time, "perf_counter", lambda: float(next(seconds)))
    for share, expected in ((1.0, (0, 3, 6, 9)), (0.9, (0, 3, 9))):
        module = train(tmp_path / f"{share}", CASES["adamw"], max_overhead=share)
        assert open_trained(tmp_path / f"{share}", module).state_steps == expected
