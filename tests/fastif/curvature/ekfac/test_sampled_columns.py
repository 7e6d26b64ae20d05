"""Sampled columns of the loss's square root: unbiased and independent of batches."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fastif import CrossEntropy, Ekfac, GaussNewton, ModuleObjective, TensorExamples, all_ids
from tests.fastif.curvature.ekfac.fits import _curvature, _fit_ekfac


@pytest.mark.long
def test_sampled_columns_converge_to_the_exact_expectation():
    """The mean over 100 seeds is within five standard errors in every entry."""
    whole = _curvature("mlp")
    kfac = Ekfac.from_covariances(Ekfac.accumulate_covariances(whole), whole.like)
    grids = []
    for seed in range(100):
        sampled = replace(kfac, spec=replace(kfac.spec, sampled=True, seed=seed))
        grids.append(
            torch.cat([b.eigenvalue_grid.flatten() for b in _correct(sampled, whole).blocks])
        )
    stacked = torch.stack(grids)
    exact = torch.cat([block.eigenvalue_grid.flatten() for block in _correct(kfac, whole).blocks])
    error = stacked.std(0) / 100**0.5
    assert (error > 0).sum() > len(error) / 2
    assert ((stacked.mean(0) - exact).abs() <= 5 * error + 1e-12).all()


def _correct(kfac: Ekfac, curvature: GaussNewton) -> Ekfac:
    return kfac.apply_corrections(kfac.accumulate_corrections(curvature))


@pytest.mark.default_cases("mlp", "embedding")
@pytest.mark.parametrize("name", ["mlp", "outside", "embedding", "bert"])
def test_sampled_columns_depend_on_the_seed_and_not_on_batches(name):
    ekfac = Ekfac.fit(_curvature(name, 4), labels="sampled", seed=3)
    whole = _curvature(name)
    examples = whole.examples.with_batch_size(2)
    turned = replace(whole, ids=all_ids(examples).flip(0), examples=examples)
    same = Ekfac.fit(turned, labels="sampled", seed=3)
    torch.testing.assert_close(ekfac.to_dense(), same.to_dense(), rtol=1e-7, atol=1e-9)
    other = Ekfac.fit(_curvature(name, 4), labels="sampled", seed=4)
    assert (ekfac.to_dense() - other.to_dense()).abs().max() > 1e-4 * ekfac.to_dense().abs().max()


def test_two_classes_are_exact_even_when_sampled():
    whole = _curvature("layernorm")
    torch.testing.assert_close(
        Ekfac.fit(whole, labels="sampled").to_dense(), _fit_ekfac("layernorm").to_dense()
    )


@pytest.mark.parametrize(("classes", "sampled"), [(11, False), (12, True)])
def test_auto_samples_above_ten_columns(classes, sampled):
    examples = TensorExamples(torch.randn(4, 3), torch.arange(4))
    curvature = GaussNewton(ModuleObjective(nn.Linear(3, classes), CrossEntropy()), examples)
    assert Ekfac.fit(curvature).spec.sampled is sampled
    assert not Ekfac.fit(curvature, labels="exact").spec.sampled
