"""Retraining and the proximal Bregman response, against closed forms and autograd."""

import reference
import torch
from torch import nn

from fastif import (
    CrossEntropy,
    Direct,
    GaussNewton,
    Gradients,
    ModuleObjective,
    SquaredError,
    TensorExamples,
    all_ids,
    influence,
)
from fastif.gradients.per_example import compute_loss_gradients
from fastif.training.proximal_bregman import proximal_bregman_response
from fastif.training.retrain import compute_losses, retrain_exact


def points(n=40, d=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def test_ridge_regression_equals_its_closed_form():
    x, y = points(), points(d=1, seed=1)
    weights = torch.rand(40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.manual_seed(
        0
    )  # the line search ends where rounding hides a descent, 1e-8 from the minimum
    objective = ModuleObjective(nn.Linear(4, 1, bias=False).double(), SquaredError())
    actual = retrain_exact(objective, TensorExamples(x, y), 0.3, weights)["weight"][0]
    # 1/n Σ w (x·θ - y)² + ½ p ‖θ‖²: the loss is the squared error itself.
    A = 2 * (x * weights[:, None]).T @ x / 40 + 0.3 * torch.eye(4, dtype=torch.float64)
    expected = torch.linalg.solve(A, 2 * (x * weights[:, None]).T @ y[:, 0] / 40)
    torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-9)


def test_leave_one_out_softmax_equals_the_reference():
    x = points()
    y = (x[:, 0] + x[:, 1] > 0).long()
    start = reference.train_softmax(x, y, 2, 0.05)
    module = nn.Linear(4, 2, bias=False).double()
    objective = ModuleObjective(module, CrossEntropy())
    weights = torch.ones(40, dtype=torch.float64)
    weights[7] = 0
    actual = retrain_exact(objective, TensorExamples(x, y), 0.05, weights)["weight"]
    expected = reference.LeaveOneOut(x, y, start, 0.05).train_without(7)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-8)


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x = points(60)
    y = (x[:, :3]).argmax(1)
    return ModuleObjective(net, CrossEntropy()), TensorExamples(x, y)


def test_the_response_is_a_minimum_of_its_objective():
    """Its gradient, written out by hand, vanishes there and not at the start."""
    objective, rows = network()
    response = proximal_bregman_response(objective, rows, 5, 0.1)
    trained = objective.params

    def slope(params):
        theta = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
        batch, alone = rows.take(all_ids(rows)), rows.take(torch.tensor([5]))
        p = objective.outputs(trained, batch).softmax(1)
        q = objective.outputs(theta, batch).log_softmax(1)
        loss = (p * (p.log() - q)).sum() / 60
        loss = loss + 0.05 * sum(((theta[k] - trained[k]) ** 2).sum() for k in theta)
        loss = loss - objective.losses(theta, alone)[0] / 60
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(theta.values()))])

    assert slope(response).abs().max() < 1e-7
    assert slope(trained).abs().max() > 1e-4


def test_influence_equals_the_response_for_small_changes():
    """With much damping the step is small, and the formula is its first order."""
    objective, rows = network()
    damping = 30.0
    query = TensorExamples(points(1, seed=9), torch.tensor([1]))
    gradients = Gradients(objective)
    b = compute_loss_gradients(gradients, query.with_batch_size(1))
    operator = GaussNewton(objective, rows).with_damping(damping)
    effects = influence(gradients, rows, Direct().solve(operator, b).value)
    predicted = effects.removal_effect[0][effects.ids[0].argsort()]
    batch = query.take(all_ids(query))
    before = compute_losses(objective, objective.params, batch)
    for row in range(5):
        after = compute_losses(
            objective, proximal_bregman_response(objective, rows, row, damping), batch
        )
        torch.testing.assert_close((after - before)[0], predicted[row], rtol=0.02, atol=1e-9)
