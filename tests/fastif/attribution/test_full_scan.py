"""A full scan on a device: read at its end alone, with the results of a scan on the CPU."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from cases import token_examples
from device_reads import DeviceReads
from pretended_device import DEVICE, Elsewhere
from torch import Tensor, nn

from fastif import (
    CrossEntropy,
    Gradients,
    InputError,
    ModuleObjective,
    TensorExamples,
    TransformerObjective,
    all_ids,
)
from fastif.attribution import full_scan
from fastif.attribution.influence import mean_influence
from fastif.attribution.ranking import ScaledEffects
from fastif.attribution.scorers import GradientScorer
from fastif.attribution.slice_totals import SliceTotals
from fastif.data.examples import Examples
from fastif.data.lookahead import Lookahead
from fastif.gradients.route import get_route
from fastif.models.prefix_cache import PrefixCache
from tests.fastif.models.test_decoders import make_decoder
from tests.fastif.test_devices import World

COUNT, QUERIES, KEEP = 23, 3, 4
PRECISIONS = {torch.float32: "single", torch.bfloat16: "bf16"}


@pytest.fixture(autouse=True)
def passes_in_single_precision(monkeypatch):
    """The simulated device has no autocast, so passes on the CPU take none either."""
    for module in ("gradients.hooks", "attribution.leverage"):
        monkeypatch.setattr(f"fastif.{module}.autocast_passes", lambda *_: nullcontext())


class Moved(Examples):
    """Examples whose batches are on a device."""

    def __init__(self, examples: TensorExamples, device, batch_size: int) -> None:
        self.examples, self.device, self.batch_size = examples, device, batch_size

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, ids):
        return {name: t.to(self.device) for name, t in self.examples.take(ids).items()}


class Scan:
    """A scan of rows by a small classifier, which may have rows without a finite gradient."""

    def __init__(
        self, device, batch_size=4, broken=(), dtype=torch.float32, s_test=None, large=()
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
            module = nn.Linear(5, 3) if large else module
        generator = torch.Generator().manual_seed(1)
        rows = torch.randn(COUNT, 5, generator=generator)
        rows[1] = rows[9]  # equal scores, ordered by position
        labels = torch.randint(3, (COUNT,), generator=generator)
        labels[1] = labels[9]
        rows[list(broken), 0] = torch.nan
        rows[list(large)] *= 1e17
        objective = ModuleObjective(module.to(device), CrossEntropy())
        size = objective.space.size
        s_test = torch.randn(QUERIES, size, generator=generator) if s_test is None else s_test
        self.train = Moved(TensorExamples(rows, labels), device, batch_size)
        self.scorer = GradientScorer(
            Gradients(objective, PRECISIONS[dtype]), self.train, s_test.to(dtype).to(device)
        )

    def run(self, keep=KEEP, scorers=1, **options):
        return mean_influence(scorers * [self.scorer], keep=keep, **options)


def _assert_same(actual, expected):
    assert torch.equal(actual.ids, expected.ids)
    assert torch.equal(actual.nonfinite_ids, expected.nonfinite_ids)
    for name in ("removal_effect", "spread", "ranking_score"):
        columns = [getattr(influences, name) for influences in (actual, expected)]
        assert columns[0] is columns[1] is None or torch.equal(*columns)


@pytest.fixture
def repeats(monkeypatch):
    """Numbers of scans that were repeated with checks that are read at once."""
    repeats = []
    scan = full_scan._scan_deferred

    def recorded(*args):
        holds = scan(*args)
        repeats.append(not holds)
        return holds

    monkeypatch.setattr(full_scan, "_scan_deferred", recorded)
    return repeats


@pytest.mark.parametrize(
    ("dtype", "keep", "broken"),
    [
        (torch.float32, 1, ()),
        (torch.float32, KEEP, (0, 7, 22)),
        (torch.bfloat16, 12, (0, 7, 22)),
        (torch.bfloat16, 100, ()),
        (torch.bfloat16, None, (0, 7, 22)),
    ],
)
def test_a_scan_on_a_device_has_the_results_of_one_on_the_cpu(dtype, keep, broken, repeats):
    slices = torch.tensor([0, 1, 0])
    expected_totals, totals = (SliceTotals.make_empty(slices, 2, COUNT) for _ in range(2))
    options = {"keep": keep, "ranking": ScaledEffects(torch.linspace(0.5, 2.0, COUNT))}
    expected = Scan("cpu", 4, broken, dtype).run(totals=expected_totals, **options)
    with Elsewhere():
        actual = Scan(DEVICE, 4, broken, dtype).run(totals=totals, **options)
    _assert_same(actual, expected)
    assert torch.equal(totals.effects.isnan(), expected_totals.effects.isnan())
    assert torch.equal(totals.effects.nan_to_num(), expected_totals.effects.nan_to_num())
    assert expected.nonfinite_ids.tolist() == [*broken]
    # Factors that are not finite are found by a deferred check; in bfloat16 there are none.
    assert repeats == [bool(broken) and dtype == torch.float32]


@pytest.mark.parametrize("batch_size", [3, 16])
def test_the_result_does_not_depend_on_the_tiles(batch_size):
    expected = Scan("cpu", COUNT, (3,)).run(scorers=2)
    with Elsewhere():
        actual = Scan(DEVICE, batch_size, (3,)).run(scorers=2)
    assert torch.equal(actual.ids, expected.ids)
    assert torch.equal(actual.nonfinite_ids, expected.nonfinite_ids)
    torch.testing.assert_close(actual.removal_effect, expected.removal_effect)
    assert not actual.spread.any()


def test_queries_that_overflow_are_not_taken_for_broken_rows(repeats):
    """Without a finite product nothing is known of a row, so that its gradient is inspected."""
    size = Scan("cpu").scorer.s_test.shape[1]
    for s_test in (
        torch.full((QUERIES, size), torch.nan),
        torch.cat([torch.full((1, size), 3e38), torch.randn(2, size)]),
    ):
        options = {"s_test": s_test, "broken": (5,), "dtype": torch.bfloat16}
        expected = Scan("cpu", **options).run()
        with Elsewhere():
            actual = Scan(DEVICE, **options).run()
        assert torch.equal(actual.ids, expected.ids)
        assert torch.equal(actual.nonfinite_ids, torch.tensor([5]))
        torch.testing.assert_close(
            actual.removal_effect, expected.removal_effect, equal_nan=True, rtol=0, atol=0
        )
    assert repeats == [True, False]


def test_a_row_all_of_whose_products_overflow_is_kept(repeats):
    """Its gradient is finite, though it has no finite effect: found at the end of the scan."""
    s_test = torch.full((QUERIES, 18), 1e25)
    expected = Scan("cpu", s_test=s_test, large=(6,)).run()
    assert expected.removal_effect.isfinite().sum() == QUERIES * (2 * KEEP - 1)
    with Elsewhere():
        actual = Scan(DEVICE, s_test=s_test, large=(6,)).run()
    _assert_same(actual, expected)
    assert repeats == [True]


def test_an_invalid_target_in_a_late_tile_is_refused_as_on_the_cpu():
    errors = []
    for device in ("cpu", DEVICE):
        with Elsewhere():
            made = Scan(device)
            made.run()
            made.train.examples.labels[20] = 7
            with pytest.raises(InputError) as raised:
                made.run()
        errors.append(str(raised.value))
    assert errors[0] == errors[1]
    assert "7" in errors[0]


class Steady:
    """Records the reads of each tile, once the checks of the route are done."""

    def __init__(self, monkeypatch) -> None:
        self.tiles: list[list[str]] = []
        average = full_scan.average_effects
        add = full_scan._Scan.add

        def record_start(scorers, ids):
            self.mode = DeviceReads()
            self.mode.__enter__()
            return average(scorers, ids)

        def record_end(scan, ids, effects):
            add(scan, ids, effects)
            self.mode.__exit__(None, None, None)
            self.tiles.append(self.mode.reads)

        monkeypatch.setattr(full_scan, "average_effects", record_start)
        monkeypatch.setattr(full_scan._Scan, "add", record_end)


@pytest.fixture(scope="module")
def world():
    with Elsewhere():
        return World(DEVICE)


@pytest.mark.default_cases("dtype0-True")
@pytest.mark.parametrize(
    ("dtype", "cached"), [(torch.float32, True), (torch.bfloat16, True), (torch.bfloat16, False)]
)
def test_no_tile_of_a_scan_is_read_by_the_host(monkeypatch, world, dtype, cached):
    for module in ("gradients.route", "models.batch_invariance"):  # no checks of single batches
        monkeypatch.setattr(f"fastif.{module}.is_spot_check", lambda _: False)
    with Elsewhere():
        train = world.train if cached else world.queries
        assert isinstance(train, PrefixCache) == cached
        s_test = torch.randn(QUERIES, world.objective.space.size).to(dtype).to(DEVICE)
        gradients = Gradients(world.objective, PRECISIONS[dtype])
        scorer = GradientScorer(gradients, train.with_batch_size(3), s_test)
        for _ in range(2):  # the checks of the route and of the first batches
            mean_influence([scorer], keep=2)
        checked = get_route(world.objective).num_checked
        steady = Steady(monkeypatch)
        mean_influence([scorer], keep=2)
        assert get_route(world.objective).num_checked == checked, "not a steady state"
    assert len(steady.tiles) == 4
    assert steady.tiles == [[], [], [], []]


@pytest.mark.parametrize("cached", [True, False])
def test_batches_that_are_read_ahead_change_no_result(world, cached):
    with Elsewhere():
        train = world.train if cached else world.queries
        s_test = torch.randn(QUERIES, world.objective.space.size).to(DEVICE)
        scorer = GradientScorer(Gradients(world.objective), train.with_batch_size(3), s_test)
        expected = mean_influence([scorer], keep=KEEP)
        straight, ahead = world.queries.lookahead, Lookahead(DEVICE, True)
        try:
            world.queries.lookahead = ahead
            scorer = replace(scorer, train=train.with_batch_size(3))
            announced = []
            announce = ahead.announce
            ahead.announce = lambda ids, collate: (announced.append(ids), announce(ids, collate))
            actual = mean_influence([scorer], keep=KEEP)
        finally:
            world.queries.lookahead = straight
    _assert_same(actual, expected)
    assert len(announced) == 3, "all batches but the first"
    assert not ahead._pending


@pytest.mark.long
def test_no_tile_of_a_decoder_with_fused_attention_is_read(monkeypatch):
    monkeypatch.setattr("fastif.models.fused_attention.is_faster_fused", lambda _: True)
    monkeypatch.setattr("fastif.models.batch_invariance.ALWAYS_CHECKED_BATCHES", 1)
    model, texts = make_decoder("gpt2", use_cache=False).float(), token_examples(12)
    with Elsewhere():
        objective = TransformerObjective(model.to(DEVICE), "last:1")
        assert objective.full_model.config._attn_implementation == "sdpa"
        s_test = torch.randn(QUERIES, objective.space.size).bfloat16().to(DEVICE)
        train = texts.to_device(DEVICE).with_batch_size(4)
        scorer = GradientScorer(Gradients(objective, "bf16"), train, s_test)
        for _ in range(2):
            mean_influence([scorer], keep=2)
        steady = Steady(monkeypatch)
        mean_influence([scorer], keep=2)
    assert steady.tiles == [[], [], []]


def test_reads_of_a_device_are_counted():
    with Elsewhere():
        x = torch.tensor([1.0, 0.0]).to(DEVICE)
        with DeviceReads() as counted:
            bool(x.any()), x.cpu(), x[x > 0], float(x.sum()), torch.empty(2).copy_(x)
            y: Tensor = x + 1
            y.masked_fill_(x > 0, 0).sum().to(torch.float64)
            torch.ones(2).to(DEVICE)
    assert len(counted.reads) == 5
    assert all_ids(TensorExamples([[1.0]], [0])).tolist() == [0]
