"""Gradients by forward hooks or one by one: exact either way, for every kind of layer and batch.

The truth is plain autograd in float64, one example at a time, on a module that the library never
sees.
"""

import copy
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastif import (
    CrossEntropy,
    Ekfac,
    GaussNewton,
    Gradients,
    InputError,
    ModuleObjective,
    TensorExamples,
    all_ids,
)
from fastif.attribution.low_rank_scorer import make_low_rank_scorer
from fastif.attribution.scorers import GradientScorer
from fastif.candidates import GradientSketcher
from fastif.gradients.per_example import compute_loss_gradients
from fastif.numerics.spot_check import SPOT_CHECK_INTERVAL


class Scale(nn.Module):
    """Its own parameters, and an optional mask."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.tensor([1.0, 0.5, -2.0])), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = x * self.w + self.b
        return y if mask is None else y * mask[..., None]


class Words(nn.Module):
    """Embedded words, three numbers each, then whatever a kind does, then a mean and a head."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.e, self.inner, self.o = nn.Embedding(8, 3), inner, nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(torch.tanh(self.middle(x, self.e(x))).mean(1))

    def middle(self, x: Tensor, h: Tensor) -> Tensor:
        return h if self.inner is None else self.inner(h)


class MaskedKeyword(Words):
    def middle(self, x, h):
        return self.inner(h, mask=(x != 0).to(h))


class MaskedPositional(Words):
    def middle(self, x, h):
        return self.inner(h, (x != 0).to(h))


class MaskAttribute(Words):
    """The mask reaches the layer by the back door."""

    def middle(self, x, h):
        self.inner.mask = (x != 0).to(h)
        return self.inner(h)


class Hidden(Scale):
    mask: Tensor

    def forward(self, x):
        return super().forward(x, self.mask)


class Sorted(Words):
    def forward(self, x):
        order = torch.argsort((x != 0).sum(1), descending=True, stable=True)
        return super().forward(x[order])[order.argsort()]


class Gathered(Words):
    """The same by other operations."""

    def forward(self, x):
        order = torch.argsort((x != 0).sum(1), descending=True, stable=True)
        h = super().forward(x.index_select(0, order))
        return torch.zeros_like(h).index_copy(0, order, h)


class Flipped(Words):
    def forward(self, x):
        return super().forward(x.flip(0)).flip(0)


class Rotated(Words):
    """By as many rows as have no padding."""

    def forward(self, x):
        by = int((x[:, -1] != 0).sum())
        return super().forward(x.roll(by, 0)).roll(-by, 0)


class Swapped(Words):
    """Positions first, as recurrent layers like it: alike in shape where there are five rows."""

    def middle(self, x, h):
        return self.inner(h.transpose(0, 1)).transpose(0, 1)


class Flattened(Words):
    def middle(self, x, h):
        return self.inner(h.flatten(0, 1)).view_as(h)


class Halved(Words):
    """A layer called on one half of the rows after the other."""

    def middle(self, x, h):
        return torch.cat([self.inner(part) for part in h.chunk(2)])


class Doubled(Words):
    def middle(self, x, h):
        return self.inner(torch.cat([h, -h])).chunk(2)[1]


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.a, self.b = nn.Embedding(8, 3), nn.Linear(3, 4), nn.Linear(3, 4)
        self.o = nn.Linear(4, 3)

    def forward(self, x):
        x = self.e(x).mean(1)
        h, w = x.new_zeros(len(x), 4), x[:, 0] > 0
        if w.any():
            h[w] = self.a(x[w])
        if (~w).any():
            h[~w] = self.b(x[~w])
        return self.o(torch.tanh(h))


class Capacity(nn.Module):
    """Every expert takes as many rows as there are, some of them twice."""

    def __init__(self):
        super().__init__()
        self.e, self.a, self.o = nn.Embedding(8, 3), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = self.e(x).mean(1)
        best = h[:, 0].argsort(descending=True)
        return self.o(torch.tanh(h.new_zeros(len(x), 4).index_add(0, best, self.a(h[best]))))


class Bag(nn.Module):
    def __init__(self, weighed):
        super().__init__()
        self.weighed, self.o = weighed, nn.Linear(3, 3)
        self.bag = nn.EmbeddingBag(8, 3, mode="sum")

    def forward(self, x):
        weights = (x != 0).to(self.o.weight) if self.weighed else None
        return self.o(torch.tanh(self.bag(x, per_sample_weights=weights)))


class Offsets(Bag):
    def forward(self, x):
        return self.o(self.bag(x.flatten(), torch.arange(0, x.numel(), x.shape[1])))


class Attention(Words):
    def middle(self, x, h):
        return self.inner(h, h, h, key_padding_mask=(x == 0) & (torch.arange(5) > 0))[0]


class Tied(Words):
    def forward(self, x):
        return (torch.tanh(self.e(x).mean(1)) @ self.e.weight.T)[:, :3]


class TiedModules(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.head = nn.Embedding(8, 3), nn.Linear(3, 8, bias=False)
        self.head.weight = self.e.weight

    def forward(self, x):
        return self.head(torch.tanh(self.e(x).mean(1)))[:, :3]


class Sometimes(Words):
    """A row's outputs are others where another row of its batch has padding."""

    def middle(self, x, h):
        y = self.inner(h)
        return y + h @ self.inner.weight.square() if bool((x == 0).any()) else y


class PackedGru(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.gru, self.o = (
            nn.Embedding(8, 3),
            nn.GRU(3, 3, batch_first=True),
            nn.Linear(3, 3),
        )

    def forward(self, x):
        lengths = (x != 0).sum(1).clamp_min(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(self.e(x), lengths, True, enforce_sorted=False)
        return self.o(self.gru(packed)[1][0])


class SortedGru(nn.Module):
    """Sorted by hand, a layer before it and one after it."""

    def __init__(self):
        super().__init__()
        self.e, self.p, self.gru = nn.Embedding(8, 3), nn.Linear(3, 3), nn.GRU(3, 3)
        self.o = nn.Linear(3, 3)

    def forward(self, x):
        order = (x != 0).sum(1).argsort(descending=True, stable=True)
        h = self.p(self.e(x[order])).transpose(0, 1)
        return self.o(self.gru(h)[1][0])[order.argsort()]


class Positions(Words):
    """A table looked up beside the rows, [1 t]."""

    def middle(self, x, h):
        return h + self.inner(torch.arange(x.shape[1])[None])


class Twice(Words):
    def middle(self, x, h):
        return self.inner(torch.tanh(self.inner(h)))


class InPlace(Words):
    """A layer's output is scaled in place, and added to."""

    def middle(self, x, h):
        y = self.inner(h)
        y *= (x != 0).to(h)[..., None]
        y += h
        return y


class Rescaled(nn.Linear):
    """A linear layer by name, not by what it computes."""

    def forward(self, x):
        return F.linear(x, self.weight * (1 + self.weight.abs()), self.bias)


class LongOnes(nn.Linear):
    """A linear layer that treats rows with a large sum otherwise."""

    def forward(self, x):
        y = super().forward(x)
        return torch.where(x.sum((1, 2), keepdim=True) > 1, 2 * y, y)


class Nested(nn.Module):
    """A layer with a parameter of its own around another layer, whose weight it also reads."""

    def __init__(self, reads):
        super().__init__()
        self.reads, self.inner = reads, nn.Linear(3, 3)
        self.gain = nn.Parameter(torch.tensor([1.0, -1.0, 2.0]))

    def forward(self, x):
        y = self.inner(x * self.gain)
        return y + x @ self.inner.weight if self.reads else y


def _hooked() -> nn.Module:
    layer = nn.Linear(3, 3)
    layer.register_forward_hook(lambda _, __, output: 2 * output)
    return layer


def _weight_norm() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))


class Channels(Words):
    def middle(self, x, h):
        return self.inner(h.mT).mT


# name: how it is built, and whether hooks serve all of these rows
KINDS = {
    "linear": (lambda: Words(nn.Linear(3, 3)), True),
    "layer norm": (lambda: Words(nn.LayerNorm(3)), True),
    "embedding": (Words, True),
    "padded embedding": (lambda: Words(nn.Linear(3, 3)), True),
    "conv": (lambda: Channels(nn.Conv1d(3, 3, 3, padding=1)), True),
    "group norm": (lambda: Channels(nn.GroupNorm(1, 3)), True),
    "batch norm": (lambda: Channels(nn.BatchNorm1d(3)), True),
    "twice": (lambda: Twice(nn.Linear(3, 3)), True),
    "scale": (lambda: Words(Scale()), True),
    "nested": (lambda: Words(Nested(False)), True),
    "in place": (lambda: InPlace(nn.Linear(3, 3)), False),
    "rescaled": (lambda: Words(Rescaled(3, 3)), True),
    "bag": (lambda: Bag(False), None),
    "flipped": (Flipped, False),
    "masked keyword": (lambda: MaskedKeyword(Scale()), False),
    "masked positional": (lambda: MaskedPositional(Scale()), False),
    "mask attribute": (lambda: MaskAttribute(Hidden()), False),
    "sorted": (Sorted, False),
    "gathered": (Gathered, False),
    "rotated": (Rotated, False),
    "swapped": (lambda: Swapped(nn.Linear(3, 3)), False),
    "flattened": (lambda: Flattened(nn.Linear(3, 3)), False),
    "halved": (lambda: Halved(nn.Linear(3, 3)), False),
    "doubled": (lambda: Doubled(nn.Linear(3, 3)), False),
    "experts": (Experts, False),
    "capacity": (Capacity, False),
    "weighed bag": (lambda: Bag(True), False),
    "offsets": (lambda: Offsets(False), False),
    "attention": (lambda: Attention(nn.MultiheadAttention(3, 1, batch_first=True)), False),
    "tied": (Tied, False),
    "tied modules": (TiedModules, False),
    "packed gru": (PackedGru, False),
    "sorted gru": (SortedGru, False),
    "positions": (lambda: Positions(nn.Embedding(5, 3)), False),
    "hooked": (lambda: Words(_hooked()), False),
    "weight norm": (lambda: Words(_weight_norm()), False),
    "nested and read": (lambda: Words(Nested(True)), False),
    "long ones": (lambda: Words(LongOnes(3, 3)), True),
}
N = 16


def make_rows(padded: int) -> tuple[Tensor, Tensor]:
    """Rows of five words; the first ones are whole, so that a look at them tells nothing."""
    generator = torch.Generator().manual_seed(5)
    words = torch.randint(1, 8, (N, 5), generator=generator)
    lengths = torch.randint(1, 6, (N,), generator=generator)
    for i in range(padded, N):
        words[i, lengths[i] :] = 0
    return words, torch.randint(3, (N,), generator=generator)


def build_model(kind: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return KINDS[kind][0]().to(dtype).eval()


def truth(module: nn.Module, words: Tensor, labels: Tensor) -> Tensor:
    module = copy.deepcopy(module).double()
    rows = []
    for i in range(len(words)):
        loss = F.cross_entropy(module(words[i : i + 1]), labels[i : i + 1])
        gradients = torch.autograd.grad(loss, list(module.parameters()), materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_exact_for_every_kind_of_layer_and_batch(kind, batch_size):
    words, labels = make_rows(padded=7)
    gradients = Gradients(ModuleObjective(build_model(kind), CrossEntropy()))
    examples = TensorExamples(words, labels)
    actual = compute_loss_gradients(gradients, examples.with_batch_size(batch_size))
    expected = truth(build_model(kind), words, labels)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    if batch_size == 16 and KINDS[kind][1] is not None:
        assert gradients.per_example_backward is not KINDS[kind][1], gradients.route.reason
        assert bool(gradients.route.reason) is not KINDS[kind][1]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_single_precision_are_exact_to_single_precision(kind):
    words, labels = make_rows(padded=7)
    module = build_model(kind, torch.float32)
    gradients = Gradients(ModuleObjective(module, CrossEntropy()))
    examples = TensorExamples(words, labels)
    actual = compute_loss_gradients(gradients, examples.with_batch_size(8))
    expected = truth(module, words, labels)
    assert float((actual.double() - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("kind", ["sorted", "experts", "masked keyword", "positions", "linear"])
def test_the_curvatures_roots_are_exact_too(kind):
    words, labels = make_rows(padded=7)
    objective = ModuleObjective(build_model(kind), CrossEntropy())
    module = build_model(kind)
    expected = 0.0
    for i in range(N):
        outputs = module(words[i : i + 1])[0]
        J = torch.stack(
            [
                torch.cat(
                    [
                        g.flatten()
                        for g in torch.autograd.grad(
                            z, list(module.parameters()), retain_graph=True, materialize_grads=True
                        )
                    ]
                )
                for z in outputs
            ]
        )
        chance = outputs.detach().softmax(0)
        expected = expected + J.T @ (chance.diag() - chance.outer(chance)) @ J / N
    examples = TensorExamples(words, labels)
    for size in (1, 5, 16):
        actual = GaussNewton(objective, examples.with_batch_size(size)).to_dense()
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_a_tile_of_one_row_with_a_gradient_settles_nothing():
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
    """Wrong only from some call on."""

    def __init__(self, wrong_from: int, product: Callable = _by_rows) -> None:
        super().__init__()
        self.inner, self.calls, self.wrong_from = nn.Linear(3, 3), 0, wrong_from
        self.product = product

    def forward(self, x):
        whole = len(x) == 6  # and not the few rows of the trial
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
def test_every_tile_is_checked_where_a_product_may_sum_over_the_examples(product):
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
def test_rows_moved_in_no_way_that_is_known_are_caught_by_the_numbers(wrong_from, monkeypatch):
    """On the first tiles at once; later by the share, and then what went before is refused."""
    monkeypatch.setattr(
        "fastif.gradients.reordering.SPLIT_OPERATIONS", frozenset()
    )  # so that it is not known
    objective = ModuleObjective(Late(wrong_from), _ce())
    gradients, examples = Gradients(objective), _numbers(6)
    batch = examples.take(torch.arange(6))

    def take_many() -> None:
        for _ in range(3 * SPOT_CHECK_INTERVAL):
            gradients.compute_loss_tile(batch)

    if wrong_from < 2:
        take_many()
        assert gradients.route.reason
    else:
        with pytest.raises(InputError, match="discard") as refusal:
            take_many()
        advice = re.search(r"`objective\.(\w+) = True`", str(refusal.value))
        assert advice is not None
        setattr(objective, advice[1], True)
        assert Gradients(objective).per_example_backward, "the advice can be followed"
    assert gradients.per_example_backward
    actual = gradients.compute_loss_tile(batch).gradients
    module = nn.Sequential(objective.module.inner, nn.Tanh())
    expected = truth(module, batch["inputs"].double(), batch["labels"])
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


def test_outputs_that_depend_on_the_padding_of_others_are_refused():
    words, labels = make_rows(padded=2)
    gradients = Gradients(ModuleObjective(Sometimes(nn.Linear(3, 3)), CrossEntropy()))
    with pytest.raises(InputError, match="do not depend on the other rows"):
        gradients.compute_loss_tile({"inputs": words, "labels": labels})


def test_a_single_row_decides_nothing():
    words, labels = make_rows(padded=7)
    gradients = Gradients(ModuleObjective(build_model("positions"), CrossEntropy()))
    examples = TensorExamples(words, labels)
    gradients.compute_loss_tile(examples.take(torch.tensor([0])))
    assert gradients.per_example_backward is None
    gradients.compute_loss_tile(examples.take(torch.arange(3)))
    assert gradients.per_example_backward


class SwapsTwo(nn.Module):
    """Rows 1 and 2 change places by a matrix product; row 0 stays where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        P = torch.eye(len(x))
        if len(x) == 3:
            P = P[[0, 2, 1]]
        return P.T @ self.inner(P @ x)


def test_tiles_in_which_one_row_has_a_gradient_decide_nothing():
    """However many they are: the tile after them is compared again."""
    objective = ModuleObjective(SwapsTwo(), _ce())
    inputs, labels = torch.randn(3, 3, generator=torch.Generator().manual_seed(2)), [0, 1, 0]
    labels = torch.tensor(labels)
    weight = objective.module.inner.weight.detach()
    sure = inputs.clone()
    for row in (1, 2):  # so sure of its label that its gradient is exactly zero
        sure[row] = 1e4 * (weight[labels[row]] - weight[1 - labels[row]])
    gradients = Gradients(objective)
    for _ in range(5):
        rows = gradients.compute_loss_tile({"inputs": sure, "labels": labels}).gradients
        assert int((rows.norm(dim=1) > 0).sum()) == 1
    actual = gradients.compute_loss_tile({"inputs": inputs, "labels": labels}).gradients
    expected = truth(objective.module.inner, inputs.double(), labels)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


class UsedOutside(nn.Module):
    """A weight acts beside its layer, by the first number of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)) + x[:, :1] * self.inner.weight[0])


class Watched(UsedOutside):
    """Somebody's hook scales what a layer returns, by the first number of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner.register_forward_hook(lambda _, args, out: out * (1 + args[0][:, :1]))

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)))


@pytest.mark.parametrize("kind", [UsedOutside, Watched])
def test_what_no_number_of_the_first_tiles_shows_is_seen_in_the_graph(kind):
    """The first number of a row is zero but in the last tile, which no share would check."""
    objective = ModuleObjective(kind(), _ce())
    gradients, examples = Gradients(objective), _numbers(6)
    batch = examples.take(torch.arange(6))
    hidden = {**batch, "inputs": batch["inputs"] * torch.tensor([0.0, 1.0, 1.0])}
    for _ in range(4):
        gradients.compute_loss_tile(hidden)
    actual = gradients.compute_loss_tile(batch).gradients
    expected = truth(objective.module, batch["inputs"].double(), batch["labels"])
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["sorted", "experts", "linear"])
def test_users_of_the_calls_themselves_are_checked_likewise(kind):
    """Sketches and low-rank scores, which are set up by rows that show nothing."""
    words, labels = make_rows(padded=7)
    objective = ModuleObjective(build_model(kind), CrossEntropy())
    examples, module = TensorExamples(words, labels), build_model(kind)
    curvature = GaussNewton(objective, examples.with_batch_size(6), torch.arange(6))
    sketcher = GradientSketcher.fit(curvature, 0.1, dimensions=12, width=64, energy=0.999)
    gradients = Gradients(objective)
    expected = truth(module, words, labels)
    actual = sketcher(gradients, examples.take(all_ids(examples)))
    rows = (
        expected
        if sketcher.projector.projection is None
        else sketcher.projector.projection.project_vectors(expected)
    )
    torch.testing.assert_close(actual, sketcher.projector.count_sketch(rows) @ sketcher._whitening)
    s_test = torch.randn(2, expected.shape[1], dtype=torch.float64)
    scorer = make_low_rank_scorer(GradientScorer(Gradients(objective), examples, s_test), 3)
    torch.testing.assert_close(
        scorer.compute_effects(all_ids(examples)).values,
        s_test @ expected.T / N,
        rtol=1e-9,
        atol=1e-12,
    )


def test_ekfac_refuses_a_layer_whose_rows_are_routed_after_its_blocks_were_chosen():
    words, labels = make_rows(padded=7)
    words[:2], words[2:4] = words[:1], words[:1]  # the first four go to one expert
    examples = TensorExamples(words, labels)
    curvature = GaussNewton(ModuleObjective(build_model("experts"), CrossEntropy()), examples)
    with pytest.raises(InputError, match=r"EK-FAC.*other rows"):
        Ekfac.fit(curvature)


def _ce() -> CrossEntropy:
    return CrossEntropy()


def _numbers(n: int) -> TensorExamples:
    generator = torch.Generator().manual_seed(1)
    return TensorExamples(torch.randn(n, 3, generator=generator), torch.arange(n) % 2)
