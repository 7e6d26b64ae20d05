"""Outputs that are no function of one example and the parameters are refused on first use."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fastif
from fastif import (
    CrossEntropy,
    Direct,
    Examples,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    ModuleObjective,
    all_ids,
    self_influence,
)
from fastif.gradients.per_example import compute_loss_gradients
from tests.fastif.models.small_attribution import _attribute, _insert_layers, _Returns, _rows


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
    """Layer with a normalisation over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Mixed(nn.Module):
    """Layer with a Fourier transform over all axes, including the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x).real


class BatchAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x @ x.T).softmax(-1) @ x


class Ranked(nn.Module):
    """Layer that adds the position in the batch."""

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
    """Layer in single precision, with rounding that depends on the other rows, as in a sum."""

    def forward(self, x: Tensor) -> Tensor:
        large = 8 * x.float().abs().amax()
        return ((x.float() + large) - large).to(x)


class Unlike(nn.Module):
    """Layer with other outputs while gradients are disabled."""

    def forward(self, x: Tensor) -> Tensor:
        return x if torch.is_grad_enabled() else 1.01 * x


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def _train(module: nn.Module) -> nn.Module:
    """Layer that stays in training mode."""
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


def test_running_statistics_are_accepted():
    module = _insert_layers(nn.BatchNorm1d(4), nn.Dropout(0.5))
    assert _attribute(ModuleObjective(module, CrossEntropy()), _rows()).certificate.converged.all()


def test_the_tolerance_follows_the_precision_of_the_computation():
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
    """Rows of different lengths, padded to the longest of a batch."""

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


def test_the_trial_is_not_repeated():
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
