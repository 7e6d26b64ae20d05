"""Damping by the largest eigenvalue, against a dense eigendecomposition."""

import math

import pytest
import reference
import torch
from cases import case
from torch import nn

from fastif import CrossEntropy, GaussNewton, InputError, ModuleObjective, TensorExamples
from fastif.evaluation import spectral_damping
from fastif.evaluation.spectral_damping import (
    EKFAC_SHARE,
    EXACT_SHARE,
    select_damping_by_spectrum,
)


@pytest.mark.parametrize("name", ["mlp", "layernorm"])
@pytest.mark.parametrize(("is_ekfac", "share"), [(False, EXACT_SHARE), (True, EKFAC_SHARE)])
def test_the_damping_is_a_share_of_the_largest_dense_eigenvalue(name, is_ekfac, share):
    made = case(name)
    curvature = GaussNewton(made.objective, made.train.with_batch_size(4))
    choice = select_damping_by_spectrum(curvature, is_ekfac=is_ekfac)
    largest = float(torch.linalg.eigvalsh(reference.gauss_newton(made.problem))[-1])
    assert choice.damping + choice.penalty == pytest.approx(share * largest, rel=0.05)
    assert choice.rule == "spectrum"
    assert math.isnan(choice.best_agreement)
    assert not choice.is_at_edge


def test_a_large_table_is_sampled_and_its_batches_change_nothing(monkeypatch):
    monkeypatch.setattr(spectral_damping, "MAX_ROWS", 200)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(3000, 3, generator=generator, dtype=torch.float64)
    model = nn.Linear(3, 2).double()
    objective = ModuleObjective(model, CrossEntropy())
    train = TensorExamples(inputs, torch.zeros(3000, dtype=torch.long))
    small, large = (
        select_damping_by_spectrum(GaussNewton(objective, train.with_batch_size(size))).damping
        for size in (7, 64)
    )
    assert small == pytest.approx(large, rel=1e-9)
    dense = GaussNewton(objective, train).to_dense()
    largest = float(torch.linalg.eigvalsh(dense)[-1])
    assert small == pytest.approx(EXACT_SHARE * largest, rel=0.25)  # 200 of 3,000 rows


def test_a_curvature_of_zero_is_refused():
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight)
    model.bias.data = torch.tensor([1e4, -1e4])
    train = TensorExamples(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(InputError, match="curvature of zero"):
        select_damping_by_spectrum(GaussNewton(ModuleObjective(model, CrossEntropy()), train))
