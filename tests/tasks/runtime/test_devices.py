"""Devices: parsed, checked, and leased to one thread at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
import torch

from fastif import InputError
from tasks.planning.open_run import lease_run, open_run, validate_run
from tasks.run.curvature import make_operator
from tasks.run.spec import plan_run
from tasks.runtime import devices
from tasks.runtime.devices import (
    Device,
    DeviceLeases,
    resolve_devices,
    split_threads,
)
from tasks.study.errors import StudyError
from tasks.study.study import load_study
from tasks.terminal.doctor import run_checks

BOTH = resolve_devices(["cpu", "cpu"])
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")


def load_devices(world, value: object) -> str | tuple[str, ...]:
    return load_study(tiny.write_study(world, run={"devices": value})).run.devices


def test_device_names_are_complete_and_in_order(world):
    assert load_study(tiny.write_study(world)).run.devices == "auto"
    assert load_devices(world, "auto") == "auto"
    assert load_devices(world, "cpu") == ("cpu",)
    assert load_devices(world, ["cpu", "cpu"]) == ("cpu", "cpu")
    assert load_devices(world, ["cuda:1", "cuda"]) == ("cuda:1", "cuda:0")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("mps", '"auto", "cpu", "cuda:N", or a list of these'),
        ("cuda:", '"auto", "cpu"'),
        ([], '"auto", "cpu"'),
        (["cpu", 1], '"auto", "cpu"'),
        (["auto"], '"auto", "cpu"'),
        (2, '"auto", "cpu"'),
        (["cpu", "cuda:0"], "devices of one kind"),
        (["cuda", "cuda:0"], "each GPU once"),
    ],
)
def test_invalid_device_names_are_refused_with_the_study(world, value, message):
    with pytest.raises(StudyError) as raised:
        load_devices(world, value)
    assert "[run] devices" in str(raised.value)
    assert message in str(raised.value)


def test_several_devices_beside_a_bound_on_memory_are_refused(world):
    study = tiny.write_study(world, run={"devices": ["cpu", "cpu"], "memory_gb": 4.0})
    with pytest.raises(StudyError, match="a single device together with memory_gb"):
        load_study(study)


@no_gpu
def test_auto_is_one_worker_of_the_processor():
    assert resolve_devices("auto") == (Device("cpu"),)


@no_gpu
def test_a_missing_device_is_refused_before_anything_is_opened(world):
    study = tiny.write_study(world, run={"devices": ["cuda:0", "cuda:7"]})
    before = sorted(world.rglob("*"))
    with pytest.raises(InputError) as raised:
        validate_run(plan_run(study))
    assert "[run] devices: expected devices that torch sees here: cpu" in str(raised.value)
    assert "cuda:0" in str(raised.value)
    assert sorted(world.rglob("*")) == before
    failed = {check.name: check.detail for check in run_checks(study) if not check.passed}
    assert "devices" in failed
    assert "CUDA_VISIBLE_DEVICES" in failed["devices"]


def test_the_doctor_names_the_devices_of_the_study(world):
    study = tiny.write_study(world, run={"devices": ["cpu", "cpu"]})
    devices_check = next(check for check in run_checks(study) if check.name == "devices")
    assert devices_check.passed
    assert devices_check.detail.startswith("cpu, cpu;")


def test_devices_are_no_part_of_what_a_run_computes(world):
    ref = plan_run(tiny.write_study(world)).ref
    assert plan_run(tiny.write_study(world, run={"devices": ["cpu", "cpu"]})).ref == ref


def test_a_device_is_leased_to_one_thread_at_a_time_and_always_released():
    leases, lock, at_work, most = DeviceLeases(), threading.Lock(), [], []
    start = threading.Barrier(4)

    def work(number: int) -> Device:
        if number < 4:
            start.wait()
        with leases.lease_first_free(BOTH) as device:
            with lock:
                assert device not in at_work
                at_work.append(device)
                most.append(len(at_work))
            with lock:
                at_work.remove(device)
            if number % 3 == 0:
                raise ValueError("a shard that fails")
            return device

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(work, number) for number in range(60)]
    assert sum(future.exception() is not None for future in done) == 20
    assert {future.result() for future in done if future.exception() is None} <= set(BOTH)
    assert max(most) <= 2
    with leases.lease_first_free(BOTH) as first, leases.lease_first_free(BOTH) as second:
        assert (first, second) == BOTH


def test_a_thread_waits_for_a_free_device():
    leases, order = DeviceLeases(), []

    def late() -> None:
        with leases.lease_first_free(BOTH):
            order.append("lent")

    with leases.lease_first_free(BOTH) as first:
        with leases.lease_first_free(BOTH):
            thread = threading.Thread(target=late)
            thread.start()
            thread.join(0.2)
            assert thread.is_alive()
            order.append("returned")
        thread.join(10)
        assert order == ["returned", "lent"]
        assert first == BOTH[0]


def test_a_further_device_is_leased_at_once_or_not_at_all(monkeypatch):
    leases = DeviceLeases()
    with leases.lease_idle(BOTH) as first, leases.lease_idle(BOTH) as second:
        assert (first, second) == BOTH
        with leases.lease_idle(BOTH) as third:
            assert third is None
    with leases.lease_idle(BOTH) as device:
        assert device is None, "both were free for a moment only"
    monkeypatch.setattr(devices, "IDLE_SECONDS", 0.0)
    with leases.lease_idle(BOTH) as device:
        assert device == BOTH[0]


def test_a_waiting_thread_goes_before_further_devices(monkeypatch):
    monkeypatch.setattr(devices, "IDLE_SECONDS", 0.0)
    leases, release = DeviceLeases(), threading.Event()

    def work() -> None:
        with leases.lease_first_free(BOTH[:1]):
            release.wait(10)

    with leases.lease_first_free(BOTH[:1]):
        assert not leases.is_waited_for()
        thread = threading.Thread(target=work)
        thread.start()
        while not leases.is_waited_for():
            assert thread.is_alive()
        with leases.lease_idle(BOTH) as device:
            assert device is None, "the second device is free, but a shard waits"
    release.set()
    thread.join(10)
    assert not leases.is_waited_for()


def test_further_devices_are_returned_after_an_error():
    leases = DeviceLeases()
    with pytest.raises(MemoryError), leases.lease_idle(BOTH):
        raise MemoryError
    with leases.lease_first_free(BOTH) as device:
        assert device == BOTH[0]


def test_every_device_has_its_own_model_and_all_share_the_tokens(world):
    ref = plan_run(tiny.write_study(world, run={"devices": ["cpu", "cpu"]})).ref
    with lease_run(ref) as first, lease_run(ref) as second:
        assert first is not second
        assert first.objective.module is not second.objective.module
        assert make_operator(first) is not make_operator(second)
        assert first.train_examples.tokens is second.train_examples.tokens
    with lease_run(ref) as again:
        assert again is first
    assert open_run(ref, BOTH[1]) is second
    other = tiny.write_study(world, run={"devices": ["cpu", "cpu"], "batch_size": 3})
    assert open_run(plan_run(other).ref) is not first
    assert open_run(plan_run(other).ref, BOTH[1]) is not second, "one study at a time on any device"


def test_workers_share_the_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        with split_threads(2):
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(torch.get_num_threads).result() == 2
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 5
        with split_threads(9):
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
