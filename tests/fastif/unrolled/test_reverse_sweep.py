"""The reverse sweep against autograd through whole trainings, and against finite differences."""

import pytest
import torch

from fastif import Gradients
from fastif.gradients.per_example import compute_measure_gradients
from fastif.unrolled.reverse_sweep import UnrolledSettings, unrolled_removal_effects
from tests.fastif.unrolled.small_trainings import (
    CASES,
    QUERIES,
    ROWS,
    exact_gradient,
    gauss_newton_gradient,
    losses_at,
    train,
    true_effects,
    unroll,
)


def _effects(training, settings, **options):
    queries = compute_measure_gradients(Gradients(training.objective), training.queries)
    return unrolled_removal_effects(
        training.record, training.objective, training.examples, queries, settings, **options
    )


def _assert_close(values, truth, tolerance=1e-8):
    assert truth.abs().max() > 0
    assert (values - truth).norm() <= tolerance * truth.norm()


@pytest.mark.parametrize("name", CASES)
def test_exact_recursion_is_the_derivative_of_the_training(name):
    training = train(CASES[name])
    effects = _effects(training, UnrolledSettings("hessian"))
    _assert_close(effects, true_effects(training))
    final = training.objective.space.flatten(training.objective.params)
    weights = torch.ones(ROWS, dtype=torch.float64)
    row = unroll(training, weights, exact_gradient(training), False)
    torch.testing.assert_close(row, final, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gauss_newton_recursion_is_that_with_dense_matrices(name):
    training = train(CASES[name])
    effects = _effects(training, UnrolledSettings("gauss_newton"))
    _assert_close(effects, true_effects(training, gauss_newton_gradient(training)))


@pytest.mark.parametrize("name", ["coupled adam", "clipped adamw"])
def test_second_moments_can_be_held_fixed(name):
    training = train(CASES[name])
    effects = _effects(training, UnrolledSettings("hessian", "fixed"))
    truth = true_effects(training, fixed=True)
    _assert_close(effects, truth)
    assert (truth - true_effects(training)).norm() > 1e-2 * truth.norm()


@pytest.mark.parametrize("name", ["clipped momentum", "clipped adamw"])
def test_effects_are_those_of_retraining_with_another_weight(name):
    training, step = train(CASES[name]), 1e-5
    effects = _effects(training, UnrolledSettings("hessian"))
    queries = torch.arange(ROWS, ROWS + QUERIES)
    for row in (0, 7):
        losses = []
        for sign in (1, -1):
            weights = torch.ones(ROWS, dtype=torch.float64)
            weights[row] += sign * step
            objective = train(CASES[name], weights=weights).objective
            losses.append(losses_at(training, objective.space.flatten(objective.params), queries))
        _assert_close(effects[:, row], -(losses[0] - losses[1]) / (2 * step), 1e-6)
