"""Recorded trainings by `fit` of models of several kinds, against autograd through all steps."""

import copy
from dataclasses import replace

import cases
import pytest
import reference
import torch
from torch import Tensor

from fastif import Gradients, TrainingConfig, fit
from fastif.gradients.per_example import compute_measure_gradients
from fastif.models.prefix_cache import PrefixCache
from fastif.unrolled.record_training import record_training
from fastif.unrolled.reverse_sweep import UnrolledSettings, unrolled_removal_effects
from fastif.unrolled.training_record import TrainingRecord

ROWS = 6
CONFIG = TrainingConfig(epochs=2, learning_rate=0.02, weight_decay=0.1, batch_size=4, seed=5)


def _unroll(problem: reference.Problem, record: TrainingRecord, weights: Tensor) -> Tensor:
    """AdamW from its formulas; a coordinate that never had a gradient stays without one."""
    row = reference.flatten_params(problem).requires_grad_()
    first, second = torch.zeros_like(row), torch.zeros_like(row)
    for t, ids in enumerate(record.batches, start=1):
        rate, decay = float(record.learning_rates[t - 1]), record.groups[0].weight_decay
        batch = reference.losses(replace_rows(problem, ids.tolist()), row)
        loss = (weights[ids] * batch).sum() / len(ids)
        (g,) = torch.autograd.grad(loss, row, create_graph=True)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        moved = second > 0
        spread = torch.where(moved, second, 1.0).sqrt() / (1 - 0.999**t) ** 0.5 + 1e-8
        step = rate * first / (1 - 0.9**t) / spread
        row = row * (1 - rate * decay) - torch.where(moved, step, 0.0)
    return row


def replace_rows(problem: reference.Problem, ids: list[int]) -> reference.Problem:
    inputs, targets = ([rows[i] for i in ids] for rows in (problem.inputs, problem.targets))
    return replace(problem, inputs=inputs, targets=targets)


@pytest.mark.default_cases
@pytest.mark.parametrize("name", ["bert", "conv", "embedding", "three-hinges", "multi-label"])
@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_effects_on_a_recorded_training(name, curvature):
    case = cases.case(name, ROWS + 2)
    objective, train = case.objective, case.train.subset(torch.arange(ROWS))
    if name == "bert":
        train = PrefixCache(objective, train, 2**20)
    params, record = record_training(objective, train, CONFIG)
    plain = fit(objective, train, CONFIG)
    assert all(torch.equal(params[key], plain[key]) for key in params)
    trained = copy.copy(objective)
    trained.params = params
    gradients = compute_measure_gradients(Gradients(trained), case.train, torch.tensor([6, 7]))
    effects = unrolled_removal_effects(
        record, trained, train, gradients, UnrolledSettings(curvature)
    )
    weights = torch.ones(ROWS, dtype=torch.float64, requires_grad=True)
    row = _unroll(case.problem, record, weights)
    torch.testing.assert_close(row, objective.space.flatten(params), rtol=1e-8, atol=1e-10)
    losses = reference.losses(replace_rows(case.problem, [6, 7]), row)
    truth = -torch.stack([torch.autograd.grad(x, weights, retain_graph=True)[0] for x in losses])
    if curvature == "hessian":
        assert (effects - truth).norm() < 1e-8 * truth.norm()
    else:
        assert 1e-6 * truth.norm() < (effects - truth).norm() < truth.norm()


def test_parameters_that_no_loss_uses_stay_as_they_are():
    case = cases.case("idle", ROWS)
    params, record = record_training(case.objective, case.train, CONFIG)
    for name in ("left_over.weight", "left_over.bias"):
        assert torch.equal(params[name], case.objective.params[name])
    trained = copy.copy(case.objective)
    trained.params = params
    gradients = compute_measure_gradients(Gradients(trained), case.train)
    assert unrolled_removal_effects(record, trained, case.train, gradients).abs().min() > 0
