"""Solves and scores with factor rows that are never formed, against dense double precision."""

import pytest
import torch
from torch import nn

from fastif import (
    Attributor,
    ConjugateGradient,
    CrossEntropy,
    Dual,
    ExhaustiveSearch,
    GaussNewton,
    Gradients,
    ModuleObjective,
    TensorExamples,
)
from fastif.attribution.ranking import GradientCosines
from fastif.curvature.sampled_ggn import SampledGaussNewton
from fastif.gradients.structured_tile import StructuredTile
from fastif.solvers.gram import RoundingEstimator, compute_gram_matrix
from fastif.solvers.held_rows import HeldRows
from fastif.solvers.pivoted_cholesky import randomly_pivoted_cholesky

COUNT, CLASSES, DAMPING = 10, 3, 0.05


def make(batch_size=4, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(6)
        module = nn.Sequential(nn.Linear(14, 12), nn.Tanh(), nn.LayerNorm(12), nn.Linear(12, 3))
        inputs = torch.randn(COUNT, 14, dtype=dtype)
    labels = torch.arange(COUNT) % CLASSES
    examples = TensorExamples(inputs, labels).with_batch_size(batch_size)
    return ModuleObjective(module.to(dtype), CrossEntropy()), examples


def compute_rows(objective, examples, ids):
    """Factor rows by one backward pass each, [examples, columns, p]."""
    params = {name: t.detach().requires_grad_() for name, t in objective.params.items()}
    rows = []
    for index in ids:
        batch = examples.take(torch.tensor([index]))
        outputs = objective.outputs(params, batch)
        root = objective.loss.sqrt_hessian(outputs.detach(), batch["labels"])[0]
        for column in root.T:
            grads = torch.autograd.grad(outputs[0] @ column, params.values(), retain_graph=True)
            rows.append(torch.cat([tensor.flatten() for tensor in grads]))
    return torch.stack(rows).unflatten(0, (len(ids), -1))


def compute_matrix(objective, examples):
    """All factor rows in the order of the tiles of a curvature."""
    rows = compute_rows(objective, examples, range(COUNT))
    batches = rows.split(examples.batch_size)
    return torch.cat([batch.transpose(0, 1).flatten(0, 1) for batch in batches])


@pytest.mark.parametrize("held_batches", [1, 2, 100])
@pytest.mark.parametrize("batch_size", [2, 3, 4, 100])
def test_gram_matrix(batch_size, held_batches):
    """With a last batch of one example too, which has formed rows."""
    objective, examples = make(batch_size)
    curvature = GaussNewton(objective, examples)
    estimator = RoundingEstimator(curvature)
    kernel = compute_gram_matrix(curvature, held_batches, estimator)
    rows = compute_matrix(objective, examples)
    torch.testing.assert_close(kernel, rows @ rows.T)
    assert (estimator.estimate_rounding(kernel) < 1e-12).all()


def test_more_batches_are_held_in_the_memory_of_one():
    curvature = GaussNewton(*make(2))
    tiles, stop = HeldRows(curvature, 2).hold(0)
    assert all(isinstance(tile, StructuredTile) for tile in tiles)
    formed = 2 * curvature.batch_size * curvature.rows_per_example * curvature.size * 8
    assert stop == len(tiles) > 2
    assert sum(tile.byte_count for tile in tiles) <= formed


def test_held_factors_do_not_change_with_the_memory_of_the_model():
    objective, examples = make(5)
    tiles, _ = HeldRows(GaussNewton(objective, examples), 2).hold(0)
    expected = tiles[0].form()
    batch = examples.take(torch.arange(5))
    (tile, *_) = Gradients(objective).compute_sqrt_hessian_tiles(batch)
    for layer in tile.layers.values():
        layer.inputs.zero_()
    torch.testing.assert_close(tiles[0].form(), expected)


def test_low_rank_factor():
    objective, examples = make(3)
    root, remaining = randomly_pivoted_cholesky(GaussNewton(objective, examples), 20, 0.0, 7)
    rows = compute_matrix(objective, examples)
    torch.testing.assert_close(root @ root.T, rows @ rows.T)
    assert remaining < 1e-9


SOLVERS = {
    "exact": Dual(block_rows=4),
    "low rank": Dual(rank=8),
    "conjugate gradients": ConjugateGradient(tolerance=1e-10),
    "preconditioned": ConjugateGradient(tolerance=1e-10, preconditioner="drawn", rank=9),
}


@pytest.mark.default_cases
@pytest.mark.parametrize("leverage", ["off", "on"])
@pytest.mark.parametrize("name", SOLVERS)
def test_effects_of_a_full_scan(name, leverage):
    objective, examples = make()
    operator = GaussNewton(objective, examples).with_damping(DAMPING)
    attributor = Attributor(
        objective, examples, operator, SOLVERS[name], ExhaustiveSearch(), leverage=leverage
    )
    queries = torch.tensor([1, 5])
    actual = attributor(examples, queries).influences
    rows = compute_rows(objective, examples, range(COUNT))
    inverse = torch.linalg.inv(
        torch.einsum("ncp,ncq->pq", rows, rows) / COUNT
        + DAMPING * torch.eye(rows.shape[2], dtype=rows.dtype)
    )
    losses = compute_loss_gradients(objective, examples)
    expected = torch.empty(2, COUNT, dtype=rows.dtype)
    for index in range(COUNT):
        step = inverse @ losses[index]
        if leverage == "on":
            own = rows[index] @ inverse @ rows[index].T / COUNT
            inner = torch.linalg.solve(
                torch.eye(len(own), dtype=own.dtype) - own, rows[index] @ step
            )
            step = step + inverse @ rows[index].T @ inner / COUNT
        expected[:, index] = losses[queries] @ step / COUNT
    gathered = expected.gather(1, actual.ids)
    allowed = 1e-9 if name == "exact" else 2e-3  # the residual of the low-rank solve
    torch.testing.assert_close(
        actual.removal_effect, gathered, rtol=0, atol=allowed * float(expected.abs().max())
    )


def compute_loss_gradients(objective, examples):
    params = {name: t.detach().requires_grad_() for name, t in objective.params.items()}
    rows = []
    for index in range(COUNT):
        loss = objective.losses(params, examples.take(torch.tensor([index]))).sum()
        grads = torch.autograd.grad(loss, params.values())
        rows.append(torch.cat([tensor.flatten() for tensor in grads]))
    return torch.stack(rows)


def test_gradient_cosines():
    objective, examples = make()
    gradients, rows = Gradients(objective), compute_loss_gradients(objective, examples)
    ranking = GradientCosines.of_queries(gradients, examples, examples, torch.tensor([2, 3]))
    actual = ranking.score(torch.arange(COUNT), torch.zeros(2, COUNT, dtype=torch.float64))
    directions = nn.functional.normalize(rows)
    torch.testing.assert_close(actual, directions[2:4] @ directions.T)


def test_a_sampled_curvature():
    objective, examples = make()
    sampled = SampledGaussNewton.from_curvature(GaussNewton(objective, examples), 9)
    rows = compute_rows(objective, examples, sampled.ids.tolist())
    weighted = torch.einsum("mc,mcp->mp", sampled.column_weights.to(rows), rows)
    torch.testing.assert_close(compute_gram_matrix(sampled, 1), weighted @ weighted.T)


def test_single_precision_agrees_with_formed_rows(monkeypatch):
    objective, examples = make(dtype=torch.float32)
    kernel = compute_gram_matrix(GaussNewton(objective, examples), 2)
    monkeypatch.setattr("fastif.gradients.tile_structure.MIN_SHARE", 2.0)
    formed = compute_gram_matrix(GaussNewton(objective, examples), 2)
    torch.testing.assert_close(kernel, formed, rtol=1e-5, atol=1e-6)
