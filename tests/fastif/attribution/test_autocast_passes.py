"""Scores with passes in bfloat16: dense effects, checks in this precision, and what is refused."""

import copy

import pytest
import reference
import torch
from cases import text_problem, token_examples, transformer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastif import (
    Attributor,
    CrossEntropy,
    Direct,
    GaussNewton,
    Gradients,
    InputError,
    ModuleObjective,
    TensorExamples,
    TransformerObjective,
    all_ids,
)
from fastif.attribution.scorers import GradientScorer
from fastif.evaluation.select_precision import select_precision
from fastif.gradients.structured_tile import StructuredTile
from fastif.models.prefix_cache import PrefixCache
from fastif.numerics.precision import check_precision

DAMPING, COUNT = 0.3, 24
FAMILIES = ["bert", "distilbert", "electra"]


def _attributor(objective, train, precision="single"):
    operator = GaussNewton(objective, train).with_damping(DAMPING)
    options = {"leverage": "off", "precision": precision}
    return Attributor(objective, train, operator, Direct(), **options)


def _text_case(family, attributed="last:1"):
    objective = TransformerObjective(transformer(family, torch.float32), attributed)
    return objective, token_examples(COUNT)


def _effects(attribution, count=COUNT):
    influences = attribution.influences
    effects = torch.empty(len(influences.ids), count)
    return effects.scatter_(1, influences.ids, influences.removal_effect.float())


class Recorder(TorchDispatchMode):
    """Types of matrix products, and the largest tensor in single precision."""

    def __init__(self):
        super().__init__()
        self.products, self.largest = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm):
            self.products.add(result.dtype)
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.largest = max(self.largest, result.numel())
        return result


@pytest.mark.default_cases("bert")
@pytest.mark.parametrize("family", FAMILIES)
def test_effects_in_bfloat16_agree_with_the_dense_ones(family):
    objective, train = _text_case(family)
    double = copy.deepcopy(transformer(family, torch.float32)).double()
    problem = text_problem(double, objective.space.names, train)
    gradients, matrix = reference.gradients(problem), reference.gauss_newton(problem)
    expected = reference.removal_effects(gradients, gradients, matrix, DAMPING).float()
    actual = _attributor(objective, train, "bf16")(train, all_ids(train))
    size = expected.abs().amax(1, keepdim=True)
    assert float(((_effects(actual) - expected).abs() / size).max()) < 0.05
    assert float(actual.certificate.rounding.min()) > 0.97
    assert actual.certificate.route == "hooks"


def test_passes_and_products_take_bfloat16_and_no_gradient_is_held_in_single_precision():
    objective, train = _text_case("bert")
    s_test = torch.randn(2, objective.space.size)
    scorer = GradientScorer(Gradients(objective), train, s_test).with_precision("bf16")
    ids = torch.arange(20)
    for _ in range(6):  # with the checks of the first tiles, in single precision
        scorer.compute_effects(ids)
    scorer.gradients.per_example_backward = False
    with Recorder() as record:
        tile = scorer.compute_tile(ids)
        tile.dot(scorer.s_test)
    assert isinstance(tile, StructuredTile)
    assert record.products == {torch.bfloat16}
    assert record.largest < len(ids) * objective.space.size / 2


def test_frozen_layers_that_are_not_cached_take_bfloat16_too():
    objective, train = _text_case("bert")
    scorer = GradientScorer(
        Gradients(objective), PrefixCache(objective, train, 0), torch.randn(2, objective.space.size)
    )
    with Recorder() as record:
        scorer.with_precision("bf16").compute_effects(torch.arange(6))
    assert torch.bfloat16 in record.products


def test_gradients_of_other_rows_are_noticed_in_bfloat16():
    """A layer that swaps rows of its output: hooks would mix the examples up."""

    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            order = torch.arange(len(x)).flip(0)
            return self.last(torch.tanh(self.first(x[order]))[order])

    torch.manual_seed(0)
    train = TensorExamples(torch.randn(12, 6), torch.arange(12) % 3)
    objective = ModuleObjective(Swapped(), CrossEntropy())
    exact = _effects(_attributor(objective, train)(train, all_ids(train)), 12)
    other = ModuleObjective(copy.deepcopy(objective.module), CrossEntropy())
    gradients = Gradients(other, "bf16")
    gradients.compute_loss_tile(train.take(all_ids(train)))
    assert gradients.per_example_backward, gradients.route.reason
    actual = _effects(_attributor(other, train, "bf16")(train, all_ids(train)), 12)
    assert float((actual - exact).norm() / exact.norm()) < 0.05


class Mixed(nn.Module):
    """Module with a product for which autocast has no rule, of types that it makes differ."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.scale = torch.randn(8, 8)

    def forward(self, x):
        hidden = self.first(x)
        out = torch.empty(len(x), 8)
        with torch.autocast("cpu", enabled=False):
            hidden = (
                torch.mm(hidden, self.scale, out=out)
                if not hidden.requires_grad
                else (hidden @ self.scale)
            )
        return self.last(hidden)


def test_a_model_that_autocast_breaks_is_refused_and_selection_goes_on():
    torch.manual_seed(0)
    train = TensorExamples(torch.randn(12, 6), torch.arange(12) % 3)
    objective = ModuleObjective(Mixed(), CrossEntropy())
    with pytest.raises(InputError):
        _attributor(objective, train, "bf16")(train, all_ids(train))
    selection = select_precision(
        [_attributor(objective, train)], train, all_ids(train)[:3], ["bf16", "tf32"]
    )
    assert selection.precision == "tf32"  # single precision on a processor
    assert selection.trials[0].agreement is None
    assert selection.trials[0].refusal


def test_the_first_precision_that_agrees_is_selected():
    objective, train = _text_case("bert")
    members, ids = [_attributor(objective, train)], all_ids(train)[:4]
    selection = select_precision(members, train, ids, ["bf16", "tf32"])
    measured = _attributor(objective, train, "bf16")(train, ids).certificate.rounding
    assert selection.trials[0].agreement == pytest.approx(float(measured.min()))
    is_exact = float(measured.min()) >= 0.999
    assert selection.precision == ("bf16" if is_exact else "tf32")
    assert select_precision(members, train, ids, []) is None


class Convolutions(nn.Module):
    """Grouped convolution and batch normalisation, whose gradients have closed forms."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4)
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        pooled = nn.functional.adaptive_avg_pool2d(torch.relu(self.norm(self.first(x))), 2)
        return self.last(pooled.flatten(1))


def test_convolutions_and_normalisations_take_bfloat16():
    torch.manual_seed(0)
    points, labels = torch.randn(14, 2, 6, 6), torch.arange(14) % 3
    module = Convolutions().eval()
    effects = {}
    for precision, dtype in (("single", torch.float64), ("bf16", torch.float32)):
        objective = ModuleObjective(copy.deepcopy(module).to(dtype), CrossEntropy())
        train = TensorExamples(points.to(dtype), labels)
        answer = _attributor(objective, train, precision)(train, all_ids(train))
        assert answer.certificate.route == "hooks"
        effects[precision] = _effects(answer, 14)
    error = (effects["single"] - effects["bf16"]).norm() / effects["single"].norm()
    assert 0 < float(error) < 0.02


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="fp8"):
        check_precision("fp8")
