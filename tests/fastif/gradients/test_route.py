"""Checks of tiles of gradients by forward hooks, and the errors that they detect."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fastif import CrossEntropy, Gradients, InputError, ModuleObjective, TensorExamples
from fastif.numerics.spot_check import SPOT_CHECK_INTERVAL
from tests.fastif.gradients.layer_kinds import build_model, make_rows, truth


def test_a_tile_with_one_nonzero_gradient_is_not_decisive():
    loss = CrossEntropy(class_weights=(1.0, 0.0))
    objective = ModuleObjective(nn.Linear(3, 2), loss)
    gradients, examples = Gradients(objective), _numbers(6)
    gradients.compute_loss_tile(examples.take(torch.tensor([0, 1, 3, 5])))
    assert gradients.route.num_checked == 1
    assert gradients.per_example_backward is None, "rows of zeros agree in any order"
    gradients.compute_loss_tile(examples.take(torch.arange(4)))
    assert gradients.per_example_backward is False


def test_the_first_tiles_of_a_structure_and_a_share_of_the_others_are_checked():
    objective = ModuleObjective(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), _ce())
    gradients, examples = Gradients(objective), _numbers(4)
    for _ in range(4 * SPOT_CHECK_INTERVAL):
        gradients.compute_loss_tile(examples.take(torch.arange(4)))
    assert gradients.route.num_tiles == 4 * SPOT_CHECK_INTERVAL
    assert 5 <= gradients.route.num_checked <= 7


def _by_sums(P: Tensor, x: Tensor) -> Tensor:
    return (P[..., None] * x).sum(1)


def _by_columns(P: Tensor, x: Tensor) -> Tensor:
    return torch.stack([P @ column for column in x.unbind(1)], 1)


def _by_rows(P: Tensor, x: Tensor) -> Tensor:
    rows = x.unbind(0)
    return torch.stack([sum(p * row for p, row in zip(w, rows, strict=True)) for w in P])


class Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, P, x):
        ctx.save_for_backward(P)
        return P @ x

    @staticmethod
    def backward(ctx, g):
        return None, ctx.saved_tensors[0].T @ g


class Late(nn.Module):
    """Layer that is wrong from some call on."""

    def __init__(self, wrong_from: int, product: Callable = _by_rows) -> None:
        super().__init__()
        self.inner, self.calls, self.wrong_from = nn.Linear(3, 3), 0, wrong_from
        self.product = product

    def forward(self, x):
        whole = len(x) == 6  # and not for the few rows of the trial
        self.calls += whole
        P = torch.eye(len(x))
        if whole and self.calls > self.wrong_from:
            P = P.roll(1, 0)
        return self.product(P.T, torch.tanh(self.inner(P @ x)))


PRODUCTS = {
    "matrices": torch.matmul,
    "einsum": lambda P, x: torch.einsum("mn,nc->mc", P, x),
    "one of many": lambda P, x: torch.bmm(P[None], x[None])[0],
    "many with a sum": lambda P, x: torch.baddbmm(x[None] * 0, P[None], x[None])[0],
    "columns": _by_columns,
    "transposed": lambda P, x: (x.T @ P.T).T,
    "sums": _by_sums,
    "one product an example": lambda P, x: (P[:, None] @ x.expand(len(x), -1, -1))[:, 0],
    "repeated": lambda P, x: (P[:, None] @ x.repeat(len(x), 1, 1))[:, 0],
    "an axis more": lambda P, x: (P[:, None] @ x[None].tile(len(x), 1, 1))[:, 0],
    "axes swapped": lambda P, x: torch.bmm(x.T[:, None], P.T.expand(3, -1, -1))[:, 0].T,
    "largest": lambda P, x: (x + 100 * (P[..., None] - 1)).amax(1),
    "one by one": _by_rows,
    "picked": lambda P, x: torch.stack([sum(p * x[i] for i, p in enumerate(w)) for w in P]),
    "viewed": lambda P, x: torch.bmm(P[None], x.view(1, *x.shape))[0],
    "unbound": lambda P, x: torch.stack([x.unbind()[i] for i in P.argmax(1).tolist()]),
    "counted from behind": lambda P, x: torch.stack(
        [x.unbind(-2)[i] for i in P.argmax(1).tolist()], -2
    ),
    "a share of rows turned": lambda P, x: P[0, 0] * x + (1 - P[0, 0]) * x.roll(-1, -2),
    "split": lambda P, x: torch.cat([x.split(1)[i] for i in P.argmax(1).tolist()]),
    "an operation of its own": Moved.apply,
    "a share of reversed rows": lambda P, x: P[0, 0] * x + (1 - P[0, 0]) * x.roll(-1, 0),
}


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=list(PRODUCTS))
def test_every_tile_is_checked_if_a_product_may_sum_over_the_examples(product):
    objective = ModuleObjective(Late(10, product), _ce())
    gradients, examples = Gradients(objective), _numbers(6)
    batch = examples.take(torch.arange(6))
    module = nn.Sequential(objective.module.inner, nn.Tanh())
    expected = truth(module, batch["inputs"].double(), batch["labels"])
    for _ in range(20):
        torch.testing.assert_close(gradients.compute_loss_tile(batch).gradients, expected.float())
    assert gradients.per_example_backward, "or its rows were never moved"
    assert (gradients.route.num_tiles, gradients.route.num_checked) == (
        11,
        10,
    )  # the last one disagreed


@pytest.mark.parametrize("wrong_from", [0, 2, 10])
def test_unknown_reordering_is_detected_numerically(wrong_from, monkeypatch):
    """In the first tiles at once; later by a spot check, which refuses the tiles before it."""
    monkeypatch.setattr(
        "fastif.gradients.reordering.SPLIT_OPERATIONS", frozenset()
    )  # so that the structure does not show it
    objective = ModuleObjective(Late(wrong_from), _ce())
    gradients, examples = Gradients(objective), _numbers(6)
    batch = examples.take(torch.arange(6))

    def compute_many() -> None:
        for _ in range(3 * SPOT_CHECK_INTERVAL):
            gradients.compute_loss_tile(batch)

    if wrong_from < 2:
        compute_many()
        assert gradients.route.reason
    else:
        with pytest.raises(InputError, match="discard") as refusal:
            compute_many()
        advice = re.search(r"`objective\.(\w+) = True`", str(refusal.value))
        assert advice is not None
        setattr(objective, advice[1], True)
        assert Gradients(objective).per_example_backward, "the advice can be followed"
    assert gradients.per_example_backward
    actual = gradients.compute_loss_tile(batch).gradients
    module = nn.Sequential(objective.module.inner, nn.Tanh())
    expected = truth(module, batch["inputs"].double(), batch["labels"])
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


def test_a_single_row_is_not_decisive():
    words, labels = make_rows(padded=7)
    gradients = Gradients(ModuleObjective(build_model("flattened"), CrossEntropy()))
    examples = TensorExamples(words, labels)
    gradients.compute_loss_tile(examples.take(torch.tensor([0])))
    assert gradients.per_example_backward is None
    gradients.compute_loss_tile(examples.take(torch.arange(3)))
    assert gradients.per_example_backward


class SwapsTwo(nn.Module):
    """A permutation matrix swaps rows 1 and 2; row 0 keeps its position."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        P = torch.eye(len(x))
        if len(x) == 3:
            P = P[[0, 2, 1]]
        return P.T @ self.inner(P @ x)


def test_tiles_with_one_nonzero_gradient_are_not_decisive():
    """However many there are, the next tile is compared again."""
    objective = ModuleObjective(SwapsTwo(), _ce())
    inputs, labels = torch.randn(3, 3, generator=torch.Generator().manual_seed(2)), [0, 1, 0]
    labels = torch.tensor(labels)
    weight = objective.module.inner.weight.detach()
    sure = inputs.clone()
    for row in (1, 2):  # predicted with probability 1, so its gradient is exactly zero
        sure[row] = 1e4 * (weight[labels[row]] - weight[1 - labels[row]])
    gradients = Gradients(objective)
    for _ in range(5):
        rows = gradients.compute_loss_tile({"inputs": sure, "labels": labels}).gradients
        assert int((rows.norm(dim=1) > 0).sum()) == 1
    actual = gradients.compute_loss_tile({"inputs": inputs, "labels": labels}).gradients
    expected = truth(objective.module.inner, inputs.double(), labels)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


class UsedOutside(nn.Module):
    """Model that uses a weight outside of its layer, scaled by the first number of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)) + x[:, :1] * self.inner.weight[0])


class Watched(UsedOutside):
    """Model with a hook that scales a layer's output by the first number of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner.register_forward_hook(lambda _, args, out: out * (1 + args[0][:, :1]))

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)))


@pytest.mark.parametrize("kind", [UsedOutside, Watched])
def test_the_graph_shows_what_the_first_tiles_cannot(kind):
    """The first number of a row is zero except in the last tile, which no spot check covers."""
    objective = ModuleObjective(kind(), _ce())
    gradients, examples = Gradients(objective), _numbers(6)
    batch = examples.take(torch.arange(6))
    hidden = {**batch, "inputs": batch["inputs"] * torch.tensor([0.0, 1.0, 1.0])}
    for _ in range(4):
        gradients.compute_loss_tile(hidden)
    actual = gradients.compute_loss_tile(batch).gradients
    expected = truth(objective.module, batch["inputs"].double(), batch["labels"])
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


def _ce() -> CrossEntropy:
    return CrossEntropy()


def _numbers(n: int) -> TensorExamples:
    generator = torch.Generator().manual_seed(1)
    return TensorExamples(torch.randn(n, 3, generator=generator), torch.arange(n) % 2)
