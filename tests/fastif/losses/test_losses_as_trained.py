"""Heads and losses in common use, against leave-one-out retraining.

Every model here is linear and trained to convergence with an L2 penalty, so first-order influence
has one correct value.
"""

from dataclasses import dataclass

import pytest
import reference
import torch
from heads import HEADS, QUERIES, Head, N, as_trained, take_digits
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from fastif import (
    Attributor,
    ConjugateGradient,
    Direct,
    Dual,
    ExhaustiveSearch,
    GaussNewton,
    Gradients,
    Hessian,
    ModuleObjective,
    SmoothHinge,
    TensorExamples,
    all_ids,
    self_influence,
)
from fastif.gradients.per_example import compute_loss_gradients, compute_measure_gradients
from fastif.losses import Measure

ROWS, PENALTY = 24, 0.02


@dataclass(frozen=True, eq=False)
class Trained:
    """A head with its model, and real changes of each query and of each row's own loss."""

    head: Head
    convex: reference.Convex
    objective: ModuleObjective
    rows: list[int]
    changes: Tensor
    own: Tensor

    @property
    def train(self) -> TensorExamples:
        return TensorExamples(self.head.points, self.head.targets)

    @property
    def queries(self) -> TensorExamples:
        return TensorExamples(*self.head.queries)

    def effects(self, operator, solver) -> Tensor:
        """Predicted changes of the queries, [q n]."""
        attribute = Attributor(
            self.objective, self.train, operator, solver, ExhaustiveSearch(), leverage="off"
        )
        influences = attribute(self.queries, all_ids(self.queries)).influences
        return torch.empty_like(influences.removal_effect).scatter_(
            1, influences.ids, influences.removal_effect
        )


@pytest.fixture(params=HEADS, scope="module")
def trained(request) -> Trained:
    head = HEADS[request.param]()
    convex = reference.Convex(head.points, head.targets, head.torch_loss, head.outputs, PENALTY)
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:ROWS].tolist()
    shape, points, targets = convex.shape, *head.queries

    def query_losses(row: Tensor) -> Tensor:
        return head.plain(points @ row.view(shape).T, targets)

    def own_loss(row: Tensor, i: int) -> Tensor:
        outputs = head.points[i : i + 1] @ row.view(shape).T
        return head.torch_loss(outputs, head.targets[i : i + 1])[0]

    again = {i: convex.train_without(i) for i in rows}
    changes = [query_losses(row) - query_losses(convex.weights) for row in again.values()]
    of_itself = [own_loss(row, i) - own_loss(convex.weights, i) for i, row in again.items()]
    module = nn.Linear(points.shape[1], head.outputs, bias=False).double()
    module.weight.data.copy_(convex.weights.view(shape))
    objective = ModuleObjective(module, head.ours, measure=head.measure, penalty=PENALTY)
    return Trained(head, convex, objective, rows, torch.stack(changes, 1), torch.stack(of_itself))


KINDS = {"gauss-newton": GaussNewton, "hessian": Hessian}


@pytest.mark.default_cases("as-trained-hessian", "multi-label-gauss-newton", "hinge-hessian")
@pytest.mark.parametrize("kind", KINDS)
def test_the_curvature_is_that_of_the_minimised_objective(trained, kind):
    """A linear model's Gauss-Newton matrix is its Hessian; the penalty is the only damping."""
    operator = KINDS[kind](trained.objective, trained.train).with_damping(0.0)
    all_kept = torch.ones(N, dtype=torch.float64)
    expected = torch.func.hessian(trained.convex.value)(trained.convex.weights, all_kept)
    torch.testing.assert_close(operator.to_dense(), expected, rtol=1e-9, atol=1e-12)
    assert operator.damping == PENALTY


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "solver"),
    [
        ("gauss-newton", Dual()),
        ("hessian", Direct()),
        ("gauss-newton", ConjugateGradient(tolerance=1e-8, max_steps=500)),
    ],
)
def test_predicted_effects_match_leave_one_out_retraining(trained, kind, solver):
    operator = KINDS[kind](trained.objective, trained.train).with_damping(0.0)
    predicted, real = trained.effects(operator, solver)[:, trained.rows], trained.changes
    assert reference.pearson(predicted, real) > 0.985
    big = real.abs() > 0.1 * real.abs().max()
    assert big.sum() > 20
    assert (real[big] < 0).any()
    assert (real[big] > 0).any()
    assert (predicted[big].sign() == real[big].sign()).float().mean() > 0.97
    assert 0.8 < (predicted[big] / real[big]).median() < 1.05  # equal in size, not only in order


def test_self_influence_matches_the_own_loss_after_retraining(trained):
    operator = GaussNewton(trained.objective, trained.train).with_damping(0.0)
    actual = self_influence(Gradients(trained.objective), trained.train, operator, Dual())
    actual = actual[trained.rows]
    assert (actual >= 0).all()
    assert reference.pearson(actual, trained.own) > 0.98


def test_all_effects_sum_to_the_gradient_of_the_penalty(trained):
    """At the minimum the loss gradients balance the penalty: 1/n Σ ∇L = -penalty·weights."""
    objective, train = trained.objective, trained.train
    rows = compute_loss_gradients(Gradients(objective), train.with_batch_size(16))
    bare = ModuleObjective(objective.module, trained.head.ours)
    assert torch.equal(rows, compute_loss_gradients(Gradients(bare), train.with_batch_size(16)))
    pull = -PENALTY * trained.convex.weights
    torch.testing.assert_close(rows.mean(0), pull, rtol=1e-7, atol=1e-9)
    operator = GaussNewton(objective, train).with_damping(0.0)
    queries = compute_measure_gradients(Gradients(objective), trained.queries.with_batch_size(8))
    expected = Dual().solve(operator, queries).value @ pull
    torch.testing.assert_close(trained.effects(operator, Dual()).sum(1), expected)


def test_retraining_on_the_mean_of_the_rest_shifts_all_effects():
    """With n-1 instead of n the penalty weighs less: a constant shift for each query."""
    head = as_trained()
    convex = reference.Convex(head.points, head.targets, head.torch_loss, head.outputs, 0.1)
    module = nn.Linear(17, head.outputs, bias=False).double()
    module.weight.data.copy_(convex.weights.view(convex.shape))
    objective = ModuleObjective(module, head.ours, measure=head.measure, penalty=0.1)
    made = Trained(head, convex, objective, [], torch.empty(0), torch.empty(0))
    effects = made.effects(GaussNewton(objective, made.train).with_damping(0.0), Dual())
    shifted = effects - effects.mean(1, keepdim=True)

    def query_losses(row: Tensor) -> Tensor:
        return head.plain(head.queries[0] @ row.view(convex.shape).T, head.queries[1])

    real = []
    for i in range(12):
        kept = torch.arange(N) != i
        again = reference.Convex(
            head.points[kept], head.targets[kept], head.torch_loss, head.outputs, 0.1
        )
        real.append(query_losses(again.weights) - query_losses(convex.weights))
    error = (shifted[:, :12] - torch.stack(real, 1)).norm()
    assert error < 0.1 * torch.stack(real, 1).norm()
    assert error < 0.5 * (effects[:, :12] - torch.stack(real, 1)).norm()


# A real support vector machine, whose hinge has no second derivative.


class Score(Measure):
    """Negative signed score of a query: it falls as the true class gets more probable."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -(2 * targets - 1) * outputs[:, 0]


def test_smooth_hinge_influence_of_a_support_vector_machine():
    """As in Koh and Liang (2017): the smoothing is for influence, not for training."""
    points, labels = take_digits(1, 7)
    points, labels, queries = points[:N], labels[:N], (points[-QUERIES:], labels[-QUERIES:])
    penalty = 0.1

    def machine(kept: Tensor) -> Tensor:
        svm = LinearSVC(
            loss="hinge", C=1 / (N * penalty), fit_intercept=False, tol=1e-8, max_iter=10**6
        )
        return torch.from_numpy(svm.fit(points[kept].numpy(), labels[kept].numpy()).coef_)

    weights, ids, score = machine(torch.arange(N)), torch.arange(N), Score()
    again = [machine(ids[ids != i]) for i in range(N)]
    before = score(queries[0] @ weights.T, queries[1])
    real = torch.stack([score(queries[0] @ w.T, queries[1]) - before for w in again], 1)
    module = nn.Linear(points.shape[1], 1, bias=False).double()
    module.weight.data.copy_(weights)
    objective = ModuleObjective(module, SmoothHinge(0.01), measure=score, penalty=penalty)
    train = TensorExamples(points, labels)
    operator = GaussNewton(objective, train).with_damping(0.0)
    attribute = Attributor(objective, train, operator, Dual(), ExhaustiveSearch(), leverage="off")
    influences = attribute(TensorExamples(*queries), torch.arange(QUERIES)).influences
    predicted = torch.empty_like(real).scatter_(1, influences.ids, influences.removal_effect)
    assert reference.pearson(predicted, real) > 0.9
    idle = real.abs().amax(0) < 1e-4  # no support vectors: to remove one changes nothing
    assert idle.sum() > 5
    assert predicted[:, idle].abs().max() < 0.05 * predicted.abs().max()
