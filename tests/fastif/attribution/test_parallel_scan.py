"""A full scan by several devices has the bits of a scan by one."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from joining_devices import Joining
from torch import nn

import fastif
from fastif import (
    Attributor,
    CrossEntropy,
    Dual,
    Ensemble,
    ExhaustiveSearch,
    GaussNewton,
    InputError,
    ModuleObjective,
    TensorExamples,
)
from fastif.attribution.parallel_scan import merge_influences
from fastif.attribution.scan_device import FixedDevices, ScanDevice

N, BATCH = 90, 4
GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(N, 3, generator=GENERATOR)
POINTS[60:70] = POINTS[10:20]  # equal scores
LABELS = torch.randint(3, (N,), generator=GENERATOR)
LABELS[60:70] = LABELS[10:20]
QUERIES = TensorExamples(torch.randn(7, 3, generator=GENERATOR), torch.arange(7) % 3)
SLICES = torch.arange(7) % 2
COLUMNS = ("ids", "removal_effect", "spread", "ranking_score", "nonfinite_ids")


class Gathering(TensorExamples):
    """Training rows at which all devices of a scan wait for one another, so that all take part."""

    count, barrier, error = 0, None, None

    def take(self, ids):
        thread = threading.get_ident()
        if self.barrier is not None and thread not in self.arrived:
            self.arrived.add(thread)
            self.barrier.wait(20)
            if self.error is not None and thread == self.first:
                raise self.error
        self.taken.append((thread, ids))
        return super().take(ids)

    def gather(self, count: int) -> None:
        """Wait for this number of devices, as soon as one has joined."""
        self.count, self.barrier, self.arrived, self.taken = count, None, set(), []
        self.first = threading.get_ident()

    def start(self) -> None:
        if self.barrier is None and self.count:
            self.barrier = threading.Barrier(self.count)


def make_net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))


def make_train(*, with_nan: bool = False) -> Gathering:
    points = POINTS.clone()
    if with_nan:
        points[[3, 41]] = torch.nan
    train = Gathering(points, LABELS, batch_size=BATCH)
    train.gather(0)
    return train


def make_attributor(train, seed=0, search=ExhaustiveSearch(6), solver=None, **options):  # noqa: B008
    objective = ModuleObjective(make_net(seed), CrossEntropy())
    operator = GaussNewton(objective, train).with_damping(0.1)
    solver = solver or fastif.Direct()
    options = {"leverage": "off", **options}
    return Attributor(objective, train, operator, solver, search, certify_rows=8, **options)


def make_devices(attributors, count: int, spoil=lambda objective: None) -> Joining:
    devices = []
    for number in range(count):
        copies = [
            ModuleObjective(copy.deepcopy(attributor.objective.module), CrossEntropy())
            for attributor in attributors
        ]
        spoil(copies[0])
        devices.append(ScanDevice(f"cpu:{number}", copies))
    return Joining(devices, attributors[0].train)


def assert_same_bits(actual: fastif.Attribution, expected: fastif.Attribution) -> None:
    for name in COLUMNS:
        first, second = (getattr(answer.influences, name) for answer in (actual, expected))
        assert (first is None) == (second is None), name
        assert first is None or torch.equal(first, second), name
    assert torch.equal(actual.certificate.residual, expected.certificate.residual)
    assert (actual.totals is None) == (expected.totals is None)
    if expected.totals is not None:
        pair = [answer.totals.effects.nan_to_num(9.0) for answer in (actual, expected)]
        assert torch.equal(*pair)


def make_ensemble(train, **ranking) -> Ensemble:
    return Ensemble([make_attributor(train, seed) for seed in (0, 1)], **ranking)


KINDS = {
    "top and bottom": lambda train: make_attributor(train),
    "all rows": lambda train: make_attributor(train, search=ExhaustiveSearch()),
    "more than half kept": lambda train: make_attributor(train, search=ExhaustiveSearch(80)),
    "bfloat16": lambda train: make_attributor(train, search=ExhaustiveSearch(6), precision="bf16"),
    "low rank": lambda train: make_attributor(train, search=ExhaustiveSearch(6, rank=1)),
    "leverage": lambda train: make_attributor(train, leverage="on"),
    "two models": make_ensemble,
    "scaled": lambda train: make_ensemble(train, row_scale=torch.linspace(0.5, 2, N)),
    "cosines": lambda train: make_ensemble(train, by_cosine=True),
}


@pytest.mark.default_cases(
    "1 more devices-top and bottom",
    "1 more devices-bfloat16",
    "2 more devices-leverage",
    "1 more devices-two models",
    "4 more devices-cosines",
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 4], ids="{} more devices".format)
def test_any_number_of_devices_gives_the_bits_of_one(kind, count):
    train = make_train(with_nan=kind != "leverage")
    attributor = KINDS[kind](train)
    slices = None if kind == "cosines" else SLICES
    expected = attributor(QUERIES, None, slices)
    devices = make_devices(getattr(attributor, "members", [attributor]), count)
    train.gather(1 + count)
    actual = attributor(QUERIES, None, slices, devices)
    assert not devices.failures
    assert_same_bits(actual, expected)
    assert len({thread for thread, _ in train.taken}) == 1 + count, "a device took no part"
    assert len(expected.influences.nonfinite_ids) == (0 if kind == "leverage" else 2)


def test_each_training_gradient_is_computed_once():
    train = make_train()
    attributor = make_attributor(train)
    attributor(QUERIES)
    devices = make_devices([attributor], 3)
    train.gather(1)
    attributor(QUERIES)
    alone = torch.cat([ids for _, ids in train.taken]).bincount(minlength=N)
    train.gather(4)
    attributor(QUERIES, further=devices)
    together = torch.cat([ids for _, ids in train.taken]).bincount(minlength=N)
    assert torch.equal(together, alone)


def test_a_solver_that_knows_the_scores_takes_one_device():
    attributor = make_attributor(make_train(), solver=Dual())
    devices = make_devices([attributor], 1)
    with devices.lease():  # none is free, so a scan that asks for one never ends
        devices.count = -1  # and no thread is started for it
        assert_same_bits(attributor(QUERIES, further=devices), attributor(QUERIES))


ERRORS = {
    "memory of the GPU": torch.OutOfMemoryError("CUDA out of memory"),
    "memory": MemoryError(),
    "broken device": RuntimeError("CUDA error: an illegal memory access was encountered"),
}


@pytest.mark.default_cases
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("passes", [0, 3], ids="after {} passes".format)
def test_the_rows_of_a_failed_device_are_scanned_by_the_others(error, passes):
    train = make_train()
    attributor = make_attributor(train)
    expected = attributor(QUERIES, None, SLICES)

    def fail_later(objective):
        forward, left = objective.module.forward, [passes + 8]  # 8 in the trial of a batch

        def run(*args):
            left[0] -= 1
            if left[0] < 8 * (passes == 0):
                raise error
            return forward(*args)

        objective.module.forward = run

    devices = make_devices([attributor], 2, fail_later)
    train.gather(3)
    assert_same_bits(attributor(QUERIES, None, SLICES, devices), expected)
    assert [failure is error or failure.__cause__ is error for failure in devices.failures] == [
        True
    ] * 2
    with devices.lease() as device:
        assert device is None, "a failed device is not used again"


def test_an_error_of_the_first_device_ends_the_scan():
    train = make_train()
    attributor = make_attributor(train)
    devices = make_devices([attributor], 2)
    train.gather(3)
    train.error = ValueError("an unreadable row")
    with pytest.raises(ValueError, match="an unreadable row"):
        attributor(QUERIES, further=devices)
    assert not devices.failures
    train.gather(0)
    assert_same_bits(attributor(QUERIES, further=devices), attributor(QUERIES))


def test_other_models_are_refused():
    train = make_train()
    attributor = make_attributor(train)

    def change(objective):
        objective.module[0].weight.data[0, 0] += 1e-6

    with pytest.raises(InputError, match="a model with other weights"):
        attributor(QUERIES, further=make_devices([attributor], 1, change))
    with pytest.raises(InputError, match="a copy of each of 1 models; got 2 models"):
        attributor(QUERIES, further=make_devices([attributor] * 2, 1))
    (device,) = make_devices([attributor], 1)._free
    with pytest.raises(InputError, match="one model for several devices"):
        FixedDevices([device, device])


def test_a_device_that_is_wanted_elsewhere_leaves_after_its_batch():
    train = make_train()
    attributor = make_attributor(train)
    expected = attributor(QUERIES)
    devices = make_devices([attributor], 1)
    calls = []

    def is_wanted() -> bool:
        calls.append(None)
        return len(calls) > 1

    devices._free = [replace(device, is_wanted=is_wanted) for device in devices._free]
    train.gather(2)
    assert_same_bits(attributor(QUERIES, further=devices), expected)
    first = threading.get_ident()
    assert sum(thread != first for thread, _ in train.taken) == 1


def test_two_scans_at_once_share_the_devices_without_waiting_for_each_other():
    attributors = [make_attributor(make_train()) for _ in range(2)]
    expected = [attributor(QUERIES) for attributor in attributors]
    busy = [threading.Lock() for _ in range(3)]
    devices = make_devices(attributors[:1], 3)
    for device, lock in zip(devices._free, busy, strict=True):
        module = device.objectives[0].module

        def run(*args, forward=module.forward, lock=lock):
            assert lock.acquire(blocking=False), "two scans run one copy of a model"
            try:
                return forward(*args)
            finally:
                lock.release()

        module.forward = run
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            futures = [pool.submit(a, QUERIES, further=devices) for a in attributors]
            for future, answer in zip(futures, expected, strict=True):
                assert_same_bits(future.result(30), answer)
    assert not devices.failures
    assert len(devices._free) == 3


@pytest.mark.parametrize("keep", [None, 1, 7, 200])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_merged_parts_equal_the_whole(keep, parts):
    from fastif.attribution.influence import Influences
    from fastif.numerics.top_bottom_k import top_bottom_k

    scores = torch.randint(-3, 4, (4, 60), generator=torch.Generator().manual_seed(1)).float()
    ids = torch.arange(60).expand(4, -1)

    def select(columns: torch.Tensor) -> Influences:
        order = top_bottom_k(ids[:, columns], scores[:, columns], keep)
        effects = scores[:, columns].gather(1, order)
        return Influences(ids[:, columns].gather(1, order), effects, spread=effects + 1)

    whole = select(torch.arange(60))
    split = torch.randperm(60, generator=torch.Generator().manual_seed(2)).chunk(parts)
    merged = merge_influences([select(columns) for columns in split], keep)
    for name in ("ids", "removal_effect", "spread"):
        assert torch.equal(getattr(merged, name), getattr(whole, name))
