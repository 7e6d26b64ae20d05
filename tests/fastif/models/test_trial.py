"""What is no function of one example and the parameters is refused on first use, by name."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fastif
from fastif import (
    Attributor,
    BinaryCrossEntropy,
    CrossEntropy,
    Direct,
    Dual,
    Examples,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    ModuleObjective,
    SmoothHinge,
    SquaredError,
    TensorExamples,
    all_ids,
    self_influence,
)
from fastif.data.examples import RelabeledExamples
from fastif.gradients.per_example import compute_loss_gradients


class Always(nn.Module):
    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.a, self.b, self.p = nn.Linear(3, 4), nn.Linear(4, 3), p

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.dropout(torch.tanh(self.a(x)), self.p))


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.01 * torch.randn_like(x)


class Centred(nn.Module):
    """A normalisation of its own, over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Mixed(nn.Module):
    """A Fourier transform over both axes, the batch being one of them."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x).real


class BatchAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x @ x.T).softmax(-1) @ x


class Ranked(nn.Module):
    """By its place in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(len(x)).to(x)[:, None]


class Largest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.abs().max()


class Cast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.a(x).float()


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.half().to(x.dtype)


class Single(nn.Module):
    """In single precision, with a rounding that depends on the company as that of a sum may."""

    def forward(self, x: Tensor) -> Tensor:
        large = 8 * x.float().abs().amax()
        return ((x.float() + large) - large).to(x)


class Unlike(nn.Module):
    """Other outputs where no gradients are taken."""

    def forward(self, x: Tensor) -> Tensor:
        return x if torch.is_grad_enabled() else 1.01 * x


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def _insert_layers(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *layers, nn.Linear(4, 3))


def _train(module: nn.Module) -> nn.Module:
    """In training mode whatever happens."""
    module.eval = lambda: module  # type: ignore[method-assign]
    module.train(True)
    return module


REFUSED = {
    "functional dropout": (Always, "Always.*same outputs each time"),
    "rare dropout": (lambda: Always(0.05), "same outputs each time"),
    "noise": (lambda: _insert_layers(Noise()), "Noise 2.*same outputs each time"),
    "own normalisation": (lambda: _insert_layers(Centred()), "Centred 2.*other rows"),
    "batch statistics": (
        lambda: _insert_layers(nn.BatchNorm1d(4, track_running_stats=False)),
        "BatchNorm1d 2.*other rows",
    ),
    "Fourier": (lambda: _insert_layers(Mixed()), "Mixed 2.*other rows"),
    "attention over the batch": (
        lambda: _insert_layers(BatchAttention()),
        "BatchAttention 2.*other",
    ),
    "place in the batch": (lambda: _insert_layers(Ranked()), "Ranked 2.*other rows"),
    "largest of the batch": (lambda: _insert_layers(Largest()), "Largest 2.*other rows"),
    "autocast": (lambda: nn.Sequential(Cast(), nn.Tanh()), "Linear 0.a.*bfloat16"),
    "half precision": (lambda: _insert_layers(Rounded()), "float16"),
    "fast path": (lambda: _insert_layers(Unlike()), "Unlike 2.*with and without gradients"),
    "no path": (lambda: nn.Sequential(nn.Linear(3, 3), Cut()), "depend on the attributed"),
    "a pair": (lambda: _Returns(lambda y: (y, y)), "a tuple of 2"),
    "three axes": (lambda: _Returns(lambda y: y[:, None]), "logits of shape"),
    "whole numbers": (lambda: _Returns(lambda y: y.argmax(1)), "logits of shape"),
    "one row less": (lambda: _Returns(lambda y: y[1:]), "logits of shape"),
    "own exception": (lambda: _Returns(lambda y: {}["logits"]), "KeyError"),
    "wrong width": (lambda: nn.Linear(5, 3), "RuntimeError: mat1 and mat2"),
}


class _Returns(nn.Module):
    def __init__(self, made) -> None:
        super().__init__()
        self.a, self.made = nn.Linear(3, 3), made

    def forward(self, x: Tensor) -> object:
        return self.made(self.a(x))


def _rows(n: int = 12, dtype: torch.dtype = torch.float32) -> TensorExamples:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 3, generator=generator).to(dtype)
    return TensorExamples(inputs, torch.randint(3, (n,), generator=generator))


def _attribute(objective, train, ids=(0, 1)):
    operator = GaussNewton(objective, train).with_damping(0.1)
    return Attributor(objective, train, operator, Dual())(train, torch.tensor(ids))


USES = {
    "gradients": lambda o, t: Gradients(o).compute_loss_tile(t.take(all_ids(t))),
    "rows": lambda o, t: compute_loss_gradients(Gradients(o), t.with_batch_size(4)),
    "curvature": lambda o, t: GaussNewton(o, t),
    "Hessian": lambda o, t: Hessian(o, t),
    "attributor": _attribute,
    "self-influence": lambda o, t: self_influence(
        Gradients(o), t, GaussNewton(o, t).with_damping(0.1), Direct()
    ),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ["noise", "own normalisation", "autocast"])
def test_every_first_use_refuses(name, use):
    build, words = REFUSED[name]
    objective = ModuleObjective(build(), CrossEntropy())
    with pytest.raises(InputError, match=words):
        USES[use](objective, _rows())


DTYPES = (torch.float32, torch.float64)
KINDS = [(name, dtype) for name in REFUSED for dtype in DTYPES]
KINDS.remove(("autocast", torch.float64))  # double precision is not cast


@pytest.mark.parametrize(("name", "dtype"), KINDS)
def test_a_refusal_names_the_module(name, dtype):
    build, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        _attribute(ModuleObjective(build().to(dtype), CrossEntropy()), _rows(dtype=dtype))


def test_a_module_that_cannot_be_put_into_evaluation_mode_is_refused():
    module = nn.Sequential(nn.Linear(3, 4), _Training(), nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"_Training 1.*same outputs each time"):
        _attribute(ModuleObjective(module, CrossEntropy()), _rows())


class _Training(nn.Dropout):
    def train(self, mode: bool = True) -> nn.Module:
        return super().train(True)


def test_running_statistics_are_no_batch_mates():
    module = _insert_layers(nn.BatchNorm1d(4), nn.Dropout(0.5))
    assert _attribute(ModuleObjective(module, CrossEntropy()), _rows()).certificate.converged.all()


def test_a_difference_is_judged_by_the_precision_of_the_computation_not_of_the_weights():
    rows = _rows(dtype=torch.float64)
    rounded = ModuleObjective(_insert_layers(Single()).double(), CrossEntropy())
    assert _attribute(rounded, rows).certificate.converged.all()
    for other in (_insert_layers(Centred()), _insert_layers(Single(), Centred())):
        with pytest.raises(InputError, match=r"Centred .*other rows"):
            _attribute(ModuleObjective(other.double(), CrossEntropy()), rows)


def test_autocast_around_a_call_is_refused():
    objective, rows = ModuleObjective(nn.Linear(3, 3), CrossEntropy()), _rows()
    _attribute(objective, rows)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(InputError, match="autocast"):
        _attribute(objective, rows)


class Padded(Examples):
    """Rows of unlike length, padded to the longest of a batch."""

    labels = torch.tensor([0, 1, 2, 0])
    _rows = (torch.ones(2, 3), torch.ones(5, 3), torch.ones(3, 3), torch.ones(1, 3))

    def __len__(self):
        return 4

    @property
    def lengths(self):
        return torch.tensor([len(row) for row in self._rows])

    def take(self, ids):
        rows = [self._rows[i] for i in ids.tolist()]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return {"inputs": padded, "labels": self.labels[ids]}


class MeanOverPadding(nn.Module):
    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.a, self.masked = nn.Linear(3, 3), masked

    def forward(self, x: Tensor) -> Tensor:
        real = (x != 0).any(-1) if self.masked else torch.ones(x.shape[:2], dtype=torch.bool)
        return (self.a(x) * real[..., None]).sum(1) / real.sum(1)[:, None]


def test_padding_that_is_read_is_refused():
    for masked in (True, False):
        objective, rows = ModuleObjective(MeanOverPadding(masked), CrossEntropy()), Padded()
        if masked:
            _attribute(objective, rows)
        else:
            with pytest.raises(InputError, match="longer rows"):
                _attribute(objective, rows)


class Augmented(TensorExamples):
    def take(self, ids):
        batch = super().take(ids)
        return {**batch, "inputs": batch["inputs"] + 0.1 * torch.randn(len(ids), 3)}


def test_rows_that_change_each_time_are_refused():
    rows = _rows()
    with pytest.raises(InputError, match=r"training set.*same rows each time"):
        _attribute(
            ModuleObjective(nn.Linear(3, 3), CrossEntropy()), Augmented(rows.inputs, rows.labels)
        )


WRONG_LABELS = {
    "ignored": (CrossEntropy(), [0, 1, -100, 2], "-100 in row 2"),
    "negative": (CrossEntropy(), [0, -1, -1, 2], "-1 in row 1 .rows 1, 2"),
    "too large": (CrossEntropy(), [0, 1, 3, 2], "3 in row 2"),
    "numbers": (CrossEntropy(), [0.0, 1.0, 2.0, 0.5], "whole number"),
    "one-hot whole numbers": (CrossEntropy(), [[1, 0, 0]] * 4, "whole number"),
    "soft, too few": (CrossEntropy(), [[0.5, 0.5]] * 4, "3 numbers"),
    "soft, negative": (CrossEntropy(), [[0.5, 0.5, 0.0]] * 3 + [[1.5, -0.5, 0.0]], "in row 3"),
    "soft, not a number": (CrossEntropy(), [[0.5, 0.5, 0.0]] * 3 + [[torch.nan] * 3], "in row 3"),
    "hinge": (SmoothHinge(0.1), [0, 1, -1, 2], "-1 in row 2"),
    "yes and no": (BinaryCrossEntropy(), [[0, 1, 2]] * 4, "0 or 1"),
    "yes and no, not a number": (BinaryCrossEntropy(), [[0, 1, torch.nan]] * 4, "finite"),
    "regression, not a number": (SquaredError(), [[0.0, 1, 2]] * 3 + [[torch.nan] * 3], "row 3"),
    "regression, too few": (SquaredError(), [0.0, 1, 2, 3], "3 numbers"),
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_labels_outside_the_loss_are_refused_by_row(name):
    loss, labels, words = WRONG_LABELS[name]
    objective, inputs = ModuleObjective(nn.Linear(3, 3), loss), torch.randn(4, 3)
    with pytest.raises(InputError, match=words):
        GaussNewton(objective, TensorExamples(inputs, torch.tensor(labels)))
    fine = torch.tensor([0, 1, 2, 0])
    if isinstance(loss, CrossEntropy | SmoothHinge):
        train = TensorExamples(inputs, fine)
        with pytest.raises(InputError, match=words):
            GaussNewton(objective, RelabeledExamples(train, torch.tensor(labels)))
        queries = TensorExamples(inputs, torch.tensor(labels))
        operator = GaussNewton(objective, train).with_damping(0.1)
        with pytest.raises(InputError, match=f"queries.*{words}"):
            Attributor(objective, train, operator, Dual())(queries, torch.arange(2))


def test_a_wrong_label_that_only_a_batch_shows_is_refused_too():
    class Hidden(Examples):
        def __len__(self):
            return 40

        def take(self, ids):
            return {"inputs": torch.ones(len(ids), 3), "labels": torch.where(ids == 17, -100, 0)}

    objective = ModuleObjective(nn.Linear(3, 3), CrossEntropy())
    with pytest.raises(InputError, match="-100"):
        _attribute(objective, Hidden())


def test_inputs_and_labels_of_unequal_number_are_refused():
    for rows, labels in ((4, 6), (6, 4)):
        with pytest.raises(InputError, match=f"{rows} rows and {labels} labels"):
            TensorExamples(torch.randn(rows, 3), torch.zeros(labels, dtype=torch.long))
    with pytest.raises(InputError, match="RelabeledExamples"):
        RelabeledExamples(_rows(12), torch.zeros(11, dtype=torch.long))


# What other libraries' users have in hand


def _effects(objective, train) -> Tensor:
    influences = _attribute(objective, train).influences
    return torch.zeros(2, len(train)).scatter_(1, influences.ids, influences.removal_effect)


def test_outputs_may_be_wrapped_as_models_wrap_them():
    plain = _Returns(lambda y: y)
    expected = _effects(ModuleObjective(plain, CrossEntropy()), _rows())
    for made in (lambda y: (y,), lambda y: {"logits": y}):
        module = _Returns(made)
        module.a = plain.a
        effects = _effects(ModuleObjective(module, CrossEntropy()), _rows())
        torch.testing.assert_close(effects, expected)


def test_a_row_of_numbers_is_one_output_each():
    rows, module = TensorExamples(torch.randn(8, 3), torch.rand(8)), nn.Linear(3, 1)
    expected = _effects(ModuleObjective(module, SquaredError()), rows)
    flat = nn.Sequential(module, nn.Flatten(0))
    torch.testing.assert_close(_effects(ModuleObjective(flat, SquaredError()), rows), expected)


def test_wrappers_are_taken_off_and_half_precision_is_made_single():
    module, rows = nn.Linear(3, 3), _rows()
    expected = _effects(ModuleObjective(module, CrossEntropy()), rows)
    parallel = ModuleObjective(nn.DataParallel(module), CrossEntropy())
    assert parallel.space.names == ("weight", "bias")
    torch.testing.assert_close(_effects(parallel, rows), expected)
    half = nn.Linear(3, 3).bfloat16()
    half.load_state_dict(module.state_dict())
    wide = nn.Linear(3, 3)
    wide.load_state_dict(half.state_dict())
    objective = ModuleObjective(half, CrossEntropy())
    assert objective.like.dtype == torch.float32
    assert half.weight.dtype == torch.bfloat16
    expected = _effects(ModuleObjective(wide, CrossEntropy()), rows)
    torch.testing.assert_close(_effects(objective, rows), expected)


def test_arrays_lists_and_double_inputs_are_taken():
    rows, module = _rows(), nn.Linear(3, 3)
    objective = ModuleObjective(module, CrossEntropy())
    expected = _effects(objective, rows)
    arrays = TensorExamples(rows.inputs.double().numpy(), rows.labels.tolist())
    operator = GaussNewton(objective, arrays, list(range(12))).with_damping(0.1)
    influences = Attributor(objective, arrays, operator, Dual())(arrays, [0, 1]).influences
    effects = torch.zeros(2, 12).scatter_(1, influences.ids, influences.removal_effect)
    torch.testing.assert_close(effects, expected)
    ids = np.array([3, 0])
    taken = compute_loss_gradients(Gradients(objective), arrays.with_batch_size(4), ids)
    torch.testing.assert_close(
        taken,
        compute_loss_gradients(Gradients(objective), rows.with_batch_size(4), torch.tensor([3, 0])),
    )
    self_influence(Gradients(objective), arrays, operator, Direct(), [1, 2])


def test_a_plain_loss_of_torch_is_taken_and_others_are_refused_by_name():
    rows, module = _rows(), nn.Linear(3, 3)
    expected = _effects(ModuleObjective(module, CrossEntropy(0.1)), rows)
    plain = ModuleObjective(module, nn.CrossEntropyLoss(label_smoothing=0.1))
    torch.testing.assert_close(_effects(plain, rows), expected)
    for loss, instead in (
        (nn.CrossEntropyLoss(weight=torch.ones(3)), r"fastif\.CrossEntropy"),
        (nn.CrossEntropyLoss(ignore_index=0), r"fastif\.CrossEntropy"),
        (nn.MSELoss(), "SquaredError"),
        (nn.BCEWithLogitsLoss(), "BinaryCrossEntropy"),
        (F.cross_entropy, "CrossEntropy"),
        (CrossEntropy, "CrossEntropy"),
    ):
        with pytest.raises(InputError, match=instead):
            ModuleObjective(module, loss)


def test_data_sets_of_torch_and_wrong_positions_are_refused():
    rows, objective = _rows(), ModuleObjective(nn.Linear(3, 3), CrossEntropy())
    data = TensorDataset(rows.inputs, rows.labels)
    for given in (data, DataLoader(data), (rows.inputs, rows.labels)):
        with pytest.raises(InputError, match="TensorExamples"):
            GaussNewton(objective, given)  # type: ignore[arg-type]
    for ids in ([0, 12], [-1], [0.5], torch.tensor([True] * 12)):
        with pytest.raises(InputError, match="ids"):
            compute_loss_gradients(Gradients(objective), rows.with_batch_size(4), ids)


def test_quantised_layers_are_refused():
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("no quantised kernels here")
    module = torch.ao.quantization.quantize_dynamic(_insert_layers(nn.LayerNorm(4)), {nn.Linear})
    with pytest.raises(InputError, match="quantised layer 0"):
        ModuleObjective(module, CrossEntropy())


class FusedAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.o = nn.Linear(2, 2), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x)[:, None]
        return self.o(F.scaled_dot_product_attention(q, q, q)[:, 0].mean(1))


class PlainAttention(FusedAttention):
    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x)
        return self.o(((q @ q.mT / 2**0.5).softmax(-1) @ q).mean(1))


def test_a_hessian_goes_through_fused_attention():
    torch.manual_seed(0)
    fused, plain = FusedAttention().double(), PlainAttention().double()
    plain.load_state_dict(fused.state_dict())
    rows = TensorExamples(torch.randn(6, 4, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2]))
    actual = Hessian(ModuleObjective(fused, CrossEntropy()), rows).to_dense()
    params = dict(plain.named_parameters())
    row = torch.cat([p.detach().flatten() for p in params.values()])

    def loss(row: Tensor) -> Tensor:
        parts = row.split([p.numel() for p in params.values()])
        named = {n: part.view_as(p) for (n, p), part in zip(params.items(), parts, strict=True)}
        outputs = torch.func.functional_call(plain, named, (rows.inputs,))
        return F.cross_entropy(outputs, rows.labels)

    torch.testing.assert_close(actual, torch.func.hessian(loss)(row))


def test_the_loss_and_its_root_are_taken_in_single_precision_at_least():
    outputs = torch.tensor([[3.0, -2.0, 0.5]], dtype=torch.bfloat16)
    for loss, targets in (
        (CrossEntropy(), torch.tensor([1])),
        (BinaryCrossEntropy(), torch.tensor([[1, 0, 1]])),
        (SmoothHinge(0.3), torch.tensor([1])),
        (SquaredError(), torch.tensor([[1.0, 0.0, 2.0]])),
    ):
        assert (
            loss(outputs, targets).dtype
            == loss.sqrt_hessian(outputs, targets).dtype
            == torch.float32
        )
        expected = loss(outputs.double(), targets).float()
        torch.testing.assert_close(loss(outputs, targets), expected, rtol=1e-5, atol=1e-6)


def test_nothing_of_the_trial_is_repeated():
    calls = []

    class Counted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return super().forward(x)

    objective, rows = ModuleObjective(Counted(3, 3), CrossEntropy()), _rows()
    GaussNewton(objective, rows)
    tried = len(calls)
    GaussNewton(objective, rows)
    assert fastif.ModuleObjective(nn.Linear(3, 3), CrossEntropy())
    assert len(calls) == tried < 20
