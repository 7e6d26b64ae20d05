"""No function of fastif assumes that its tensors are on the CPU: tested on a simulated device."""

import pytest
import torch
from pretended_device import DEVICE, Elsewhere, MixedDevicesError
from transformers import BertConfig, BertForSequenceClassification

import fastif
from fastif.attribution.full_residual import compute_full_residual
from fastif.candidates import GradientSketcher, Search, UnionSearch, compute_train_sketches
from fastif.candidates.sketch_index import SketchBlock, SketchIndex
from fastif.gradients.per_example import compute_measure_gradients
from fastif.models.prefix_cache import PrefixCache
from fastif.numerics.precision import Precision
from fastif.solvers import Solver, exact_dual_solve
from fastif.solvers.in_place import measure_residual_in_place

SOLVERS = {
    "dual": fastif.Dual(),
    "cg": fastif.ConjugateGradient(max_steps=3, preconditioner="drawn", rank=6),
    "spectral": fastif.Spectral(),
    "lissa": fastif.Lissa(depth=4, scale=10.0),
}
SEARCHES = ("sketch scores", "united")


class World:
    """One tiny classifier with its texts, on a given device."""

    def __init__(self, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        config = BertConfig(
            vocab_size=30,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=12,
            num_labels=3,
            attn_implementation="eager",
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = BertForSequenceClassification(config)
        self.objective = fastif.TransformerObjective(model.eval().to(device), "last:1")
        tokens = [
            torch.randint(1, 30, (length,), generator=generator) for length in [3, 7, 5, 4] * 3
        ]
        labels = torch.randint(3, (len(tokens),), generator=generator)
        cut = torch.zeros(len(tokens), dtype=torch.bool)
        texts = fastif.TextExamples(tokens, None, labels, cut, 0, device, batch_size=8)
        self.train = PrefixCache(self.objective, texts, 10**6)
        self.queries, self.ids = texts, torch.arange(4)
        self.curvature = fastif.GaussNewton(self.objective, self.train)

    def attributor(
        self, solver: Solver, search: Search, precision: Precision = "single"
    ) -> fastif.Attributor:
        operator = self.curvature.with_damping(0.1)
        kept = solver.factor(operator)
        factor = {name: tensor.cpu() for name, tensor in kept.items()}  # as from a file
        return fastif.Attributor(
            self.objective,
            self.train,
            operator,
            solver,
            search,
            factor or None,
            certify_rows=8,
            precision=precision,
        )

    def search(self, name: str) -> Search:
        made = GradientSketcher.fit(self.curvature, 0.1, dimensions=8, width=64)
        state = {name: tensor.cpu() for name, tensor in made.state_dict().items()}
        sketcher = GradientSketcher.from_state_dict(state, self.objective)
        train_ids = fastif.all_ids(self.train)
        rows = compute_train_sketches(sketcher, self.curvature.gradients, self.train)
        sketched = fastif.SketchSearch(
            SketchIndex([SketchBlock(lambda: rows, train_ids, train_ids)]),
            sketcher,
            6,
            rescore=name != "sketch scores",
        )
        if name != "united":
            return sketched
        near = fastif.CandidateIndex.build(
            fastif.compute_embeddings(self.objective, self.train, train_ids)
        )
        return UnionSearch((sketched, fastif.NearestNeighbors(near, 3)))


def assert_same(actual: fastif.Attribution, expected: fastif.Attribution) -> None:
    assert actual.influences.ids.equal(expected.influences.ids)
    for name in ("removal_effect", "spread"):
        pair = [getattr(attribution.influences, name) for attribution in (actual, expected)]
        assert pair[0] is pair[1] is None or torch.allclose(*pair, equal_nan=True)
    pair = [attribution.certificate.residual.cpu() for attribution in (actual, expected)]
    assert torch.allclose(*pair, equal_nan=True)


@pytest.fixture(scope="module")
def here():
    return World(torch.device("cpu"))


@pytest.fixture(scope="module")
def there():
    with Elsewhere():
        return World(DEVICE)


def test_the_simulated_device_refuses_mixed_devices():
    with Elsewhere():
        x, y = torch.randn(3, 4, device=DEVICE), torch.randn(3, 4)
        assert x.device == DEVICE
        assert torch.equal((x + 1).cpu(), x.cpu() + 1)
        assert torch.equal(x[torch.tensor([2])].cpu(), x.cpu()[2:])
        mixed = [
            lambda: x + y,
            lambda: x @ y.T,
            lambda: torch.cat([x, y]),
            lambda: y[torch.ones(1, dtype=torch.long, device=DEVICE)],
            lambda: x.gather(1, torch.tensor([[0]])),
            lambda: y.__setitem__(torch.tensor([0]), x[:1]),
        ]
        for work in mixed:
            with pytest.raises(MixedDevicesError):
                work()


@pytest.mark.parametrize(
    "name",
    ["dual", "cg", *(pytest.param(name, marks=pytest.mark.long) for name in ("spectral", "lissa"))],
)
def test_every_solver_runs_on_the_device(here, there, name):
    expected = here.attributor(SOLVERS[name], fastif.ExhaustiveSearch(5))(here.queries, here.ids)
    with Elsewhere():
        actual = there.attributor(SOLVERS[name], fastif.ExhaustiveSearch(5))(
            there.queries, there.ids
        )
        assert_same(actual, expected)


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_runs_on_the_device(here, there, name):
    expected = here.attributor(fastif.Dual(), here.search(name))(here.queries, here.ids)
    with Elsewhere():
        actual = there.attributor(fastif.Dual(), there.search(name))(there.queries, there.ids)
        assert_same(actual, expected)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_every_precision_runs_on_the_device(here, there, precision):
    search = fastif.ExhaustiveSearch(5)
    expected = here.attributor(fastif.Dual(), search, precision)(here.queries, here.ids)
    with Elsewhere():
        actual = there.attributor(fastif.Dual(), search, precision)(there.queries, there.ids)
        assert_same(actual, expected)


def test_a_model_trains_on_the_device(here, there):
    recipe = fastif.TrainingConfig(1, 1e-3, 0.01, 8, 0)
    wanted = fastif.fit(here.objective, here.train, recipe)
    with Elsewhere():
        actual = fastif.fit(there.objective, there.train, recipe)
        assert all(torch.allclose(actual[name].cpu(), wanted[name]) for name in wanted)


@pytest.mark.default_cases("solver0")
@pytest.mark.parametrize("solver", [fastif.Dual(), fastif.Spectral()])
def test_solves_in_place_run_on_the_device(here, there, solver, monkeypatch):
    monkeypatch.setattr(exact_dual_solve, "CONVERGENCE_TOLERANCE", 0.0)  # always refined

    def solve(world: World) -> tuple[torch.Tensor, ...]:
        operator = world.curvature.with_damping(0.1)
        rows = compute_measure_gradients(world.curvature.gradients, world.queries, world.ids)
        kept = {name: tensor.cpu() for name, tensor in solver.factor(operator).items()}
        overwritten = rows.clone()
        prepared = solver.prepare_in_place(operator, kept, torch.bfloat16)
        solution = prepared(overwritten)
        low = solution.value.bfloat16()
        residual = measure_residual_in_place(operator, low, rows.clone(), "tf32")
        whole = compute_full_residual(operator, low, rows, sample_size=8)
        parts = solution.value.float(), solution.residual, residual, whole
        return tuple(part.cpu() for part in parts if part is not None)

    expected = solve(here)
    assert len(expected) == 4
    with Elsewhere():
        for actual, wanted in zip(solve(there), expected, strict=True):
            assert torch.allclose(actual, wanted, rtol=0.02, atol=1e-5)


@pytest.mark.default_cases("True")
@pytest.mark.parametrize("relabel", [False, True])
def test_a_flip_set_on_a_device_is_that_on_the_cpu(here, there, relabel):
    def find(world: World) -> fastif.FlipSet:
        attributor = world.attributor(fastif.Dual(), fastif.ExhaustiveSearch())
        return fastif.find_flip_set(attributor, world.queries, 1, relabel=relabel, max_rows=4)

    expected = find(here)
    with Elsewhere():
        actual = find(there)
    assert actual.ids.tolist() == expected.ids.tolist()
    assert actual.effects.tolist() == pytest.approx(expected.effects.tolist(), rel=1e-4, abs=1e-7)
    assert actual.corrected_margin == pytest.approx(expected.corrected_margin, abs=1e-4)
    assert actual.is_flip == expected.is_flip
