"""Sums of an EK-FAC fit: independent of batches and shards; nonfinite examples count as zero."""

import random
from dataclasses import replace
from functools import reduce
from operator import add

import pytest
import torch
from cases import NAMES
from safetensors.torch import load, save
from torch import nn

from fastif import Ekfac, GaussNewton, InputError, ModuleObjective, SquaredError, TensorExamples
from fastif.curvature.ekfac.accumulators import EkfacSums
from tests.fastif.curvature.ekfac.fits import _case, _curvature, _fit_ekfac


@pytest.mark.default_cases
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_sums_do_not_depend_on_the_batch_size(name, batch_size):
    """Padding differs between batches, and must not count as a position."""
    other = Ekfac.fit(_curvature(name, batch_size))
    torch.testing.assert_close(other.to_dense(), _fit_ekfac(name).to_dense(), rtol=1e-7, atol=1e-9)


@pytest.mark.default_cases("mlp", "conv", "embedding", "outside")
@pytest.mark.parametrize("name", NAMES)
def test_a_fit_over_shards_equals_a_fit_at_once(name):
    whole = _curvature(name)
    for seed in (0, 1):
        order = torch.randperm(whole.count, generator=torch.Generator().manual_seed(seed))
        cuts = (order[:1], order[1:4], order[4:])
        sizes = (3, 2, 7)
        pieces = [
            replace(whole, ids=cut, examples=whole.examples.with_batch_size(size))
            for cut, size in zip(cuts, sizes, strict=True)
        ]
        kfac = Ekfac.from_covariances(
            reduce(add, map(Ekfac.accumulate_covariances, pieces)), whole.like
        )
        random.Random(seed).shuffle(pieces)
        ekfac = kfac.apply_corrections(reduce(add, map(kfac.accumulate_corrections, pieces)))
        torch.testing.assert_close(
            ekfac.to_dense(), _fit_ekfac(name).to_dense(), rtol=1e-7, atol=1e-9
        )


def test_sums_can_be_stored_between_shards():
    whole = _curvature("mlp")
    sums = Ekfac.accumulate_covariances(whole)
    again = EkfacSums.from_state_dict(load(save(sums.state_dict())))
    twice = sums + again
    assert twice.tensors["count"] == 18
    torch.testing.assert_close(
        Ekfac.from_covariances(twice, whole.like).to_dense(),
        Ekfac.from_covariances(sums, whole.like).to_dense(),
    )


def test_sums_of_different_fits_are_refused():
    whole = _curvature("mlp")
    sums = Ekfac.accumulate_covariances(whole)
    for other in (
        Ekfac.accumulate_covariances(whole, labels="sampled"),
        Ekfac.accumulate_covariances(_curvature("softmax")),
        Ekfac.from_covariances(sums, whole.like).accumulate_corrections(whole),
    ):
        with pytest.raises(InputError, match="EK-FAC sums: expected sums of one pass"):
            sums + other


@pytest.mark.default_cases
@pytest.mark.parametrize("place", [0, 1, 5])
@pytest.mark.parametrize("name", ["mlp", "layernorm", "outside"])
def test_a_nonfinite_example_counts_as_zero_as_in_the_gauss_newton_matrix(name, place):
    made = _case(name)
    points = made.train.inputs.clone()
    points[place].flatten()[0] = torch.nan
    broken = GaussNewton(made.objective, TensorExamples(points, made.train.labels, batch_size=4))
    others = torch.cat([torch.arange(place), torch.arange(place + 1, 9)])
    sound = GaussNewton(made.objective, made.train.with_batch_size(4), others)
    torch.testing.assert_close(broken.to_dense(), sound.to_dense() * 8 / 9)
    torch.testing.assert_close(Ekfac.fit(broken).to_dense(), Ekfac.fit(sound).to_dense() * 8 / 9)


def test_training_rows_that_are_all_nonfinite_are_refused():
    examples = TensorExamples(torch.full((3, 2), torch.nan), torch.zeros(3, 1))
    curvature = GaussNewton(ModuleObjective(nn.Linear(2, 1), SquaredError()), examples)
    with pytest.raises(InputError, match="EK-FAC: expected at least one training example of fin"):
        Ekfac.fit(curvature)


def test_an_empty_curvature_is_refused():
    with pytest.raises(InputError, match="EK-FAC: expected at least one training example"):
        Ekfac.fit(replace(_curvature("mlp"), ids=torch.arange(0)))
