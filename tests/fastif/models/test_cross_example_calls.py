"""Effects that a few rows cannot show: large batches, rare rows, state of calls, backward pass."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fastif import (
    CrossEntropy,
    Direct,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    ModuleObjective,
    TensorExamples,
)
from fastif.attribution.attributor import Attributor
from fastif.attribution.member import attribute
from fastif.data.arrays import as_tensor, check_batch_size
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.trial import try_table

N = 24


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.o = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(self.middle(x, torch.tanh(self.a(x))))

    def middle(self, x: Tensor, h: Tensor) -> Tensor:
        return h + torch.tanh(self.b(h))


class LargeOnly(Net):
    """Batch statistics in batches with more rows than a trial."""

    def middle(self, x, h):
        return h - h.mean(0) if len(x) > 8 else h


class Capacity(Net):
    """Switch with a capacity of five rows for each half."""

    def middle(self, x, h):
        chosen = (x[:, :1] > 0).to(h)
        return h * ((chosen.cumsum(0) <= 5) & ((1 - chosen).cumsum(0) <= 5)).to(h)


class RareRow(Net):
    """Layer in which one row of the table changes all others of its batch."""

    def middle(self, x, h):
        return h * (1 + 0.01 * torch.sigmoid(50 * (x.abs().amax() - 8)))


class FirstBatch(Net):
    """Layer that keeps the statistics of its first batch."""

    kept: Tensor | None = None

    def middle(self, x, h):
        if self.kept is None:
            self.kept = h.detach().mean(0)
        return h - self.kept


class Initialised(Net):
    """Layer that keeps them in buffers, as in data-dependent initialisation."""

    mean: Tensor
    done: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(5))
        self.register_buffer("done", torch.tensor(0))

    def middle(self, x, h):
        if not self.done:
            self.mean.copy_(h.detach().mean(0))
            self.done.fill_(1)
        return h - self.mean


class HalfBackwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, g):  # type: ignore[override]
        x, weight = (tensor.bfloat16() for tensor in ctx.saved_tensors)
        return (g.bfloat16() @ weight).to(g), (g.bfloat16().T @ x).to(g)


class HalfGradient(Net):
    def middle(self, x, h):
        return HalfBackwards.apply(h, self.b.weight)


class Reentrant(Net):
    def middle(self, x, h):
        return checkpoint(self.b, h, use_reentrant=True)


def _rows() -> TensorExamples:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(N, 6, generator=generator)
    inputs[13, 2] = 9.0
    return TensorExamples(inputs, torch.randint(3, (N,), generator=generator))


def _rows_of_gradients(objective: ModuleObjective) -> Tensor:
    return compute_loss_gradients(Gradients(objective), _rows().with_batch_size(N), range(N))


def _hessian(objective: ModuleObjective) -> Tensor:
    return Hessian(objective, _rows().with_batch_size(N)).apply(torch.ones(1, objective.space.size))


def _scores(objective: ModuleObjective) -> object:
    operator = GaussNewton(objective, _rows().with_batch_size(N)).with_damping(0.1)
    return attribute([Attributor(objective, _rows(), operator, Direct())], _rows(), [0, 1])


REFUSED = {
    LargeOnly: "do not depend on the other rows",
    Capacity: "do not depend on the other rows",
    RareRow: "do not depend on the other rows",
    FirstBatch: "previous calls",
    Initialised: "previous calls",
    HalfGradient: "backward pass of HalfGradient.*bfloat16",
    Reentrant: "use_reentrant",
}


@pytest.mark.parametrize("use", [_rows_of_gradients, _hessian, _scores])
@pytest.mark.parametrize("kind", REFUSED)
def test_effects_that_five_rows_do_not_show_are_refused_on_use(kind, use):
    with pytest.raises(InputError, match=REFUSED[kind]):
        use(ModuleObjective(kind(), CrossEntropy()))


@pytest.mark.parametrize("kind", [LargeOnly, Capacity, RareRow])
def test_batches_are_checked_on_use_if_a_table_is_too_large(kind, monkeypatch):
    monkeypatch.setattr("fastif.models.batch_invariance.MAX_WORK", 0.0)
    with pytest.raises(InputError, match=REFUSED[kind]):
        _rows_of_gradients(ModuleObjective(kind(), CrossEntropy()))


@pytest.mark.parametrize("kind", [LargeOnly, Capacity, RareRow])
def test_many_rows_of_a_table_are_checked_before_any_batch(kind):
    with pytest.raises(InputError, match=REFUSED[kind]):
        try_table(ModuleObjective(kind(), CrossEntropy()), _rows(), "rows")


@pytest.mark.parametrize("use", [_rows_of_gradients, _hessian, _scores])
def test_models_without_these_effects_are_accepted(use):
    use(ModuleObjective(Net(), CrossEntropy()))


def test_the_buffers_of_the_caller_are_unchanged():
    model = Initialised()
    with pytest.raises(InputError):
        _rows_of_gradients(ModuleObjective(model, CrossEntropy()))
    assert not model.done
    assert not model.mean.any()


def _used_weight_norm() -> nn.Module:
    model = Net()
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(model.a)
    model(torch.ones(2, 6))
    return model


def _eight_bits() -> nn.Module:
    model = Net()
    model.a.weight = nn.Parameter(model.a.weight.detach().to(torch.float8_e4m3fn), False)
    return model


def _of_inference() -> nn.Module:
    with torch.inference_mode():
        return Net()


MODELS = {
    "lazy": lambda: nn.Sequential(nn.LazyLinear(3)),
    "meta": lambda: nn.Linear(6, 3, device="meta"),
    "weight norm after use": _used_weight_norm,
    "eight bits": _eight_bits,
    "inference mode": _of_inference,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=list(MODELS))
def test_models_without_differentiable_weights_are_refused(make):
    with pytest.raises(InputError):
        ModuleObjective(make(), CrossEntropy())


def test_arrays_of_unequal_length_are_refused():
    for wrong in (torch.tensor(1.0), torch.ones(3, 2).to_sparse(), torch.ones(3, 2, device="meta")):
        with pytest.raises(InputError, match="a row for each example"):
            as_tensor(wrong, "inputs")


@pytest.mark.parametrize("size", [0, -1, True])
def test_a_valid_batch_size_is_accepted(size):
    objective = ModuleObjective(Net(), CrossEntropy())
    for use in (
        lambda: compute_loss_gradients(Gradients(objective), _rows().with_batch_size(size), [0]),
        lambda: GaussNewton(objective, _rows().with_batch_size(size)),
        lambda: Hessian(objective, _rows().with_batch_size(size)),
    ):
        with pytest.raises(InputError, match="batch_size"):
            use()


@pytest.mark.parametrize("size", [2.5, None, "32"])
def test_an_invalid_batch_size_is_refused(size):
    with pytest.raises(InputError, match="batch_size"):
        check_batch_size(size)


def test_positions_of_all_integer_types_are_accepted():
    objective, rows = ModuleObjective(Net(), CrossEntropy()), _rows()
    expected = compute_loss_gradients(Gradients(objective), rows.with_batch_size(2), [3, 1])
    for kind in (np.uint64, np.uint8, np.int32):
        ids = np.array([3, 1], dtype=kind)
        assert torch.equal(
            compute_loss_gradients(Gradients(objective), rows.with_batch_size(2), ids), expected
        )


def test_a_single_pattern_is_not_split_into_characters():
    names = ModuleObjective(Net(), CrossEntropy(), "weight").space.names
    assert names == ("a.weight", "b.weight", "o.weight")
    with pytest.raises(InputError, match="regular expressions"):
        ModuleObjective(Net(), CrossEntropy(), ["("])
