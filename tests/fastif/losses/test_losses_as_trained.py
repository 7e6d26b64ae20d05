"""Heads and losses as people train them, against really training again without an example.

Every model here is linear and trained to convergence with an L2 penalty, so influence has one right
answer, up to the first order that it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import reference
import torch
import torch.nn.functional as F
from cases import case, token_examples, transformer
from sklearn.datasets import load_diabetes, load_digits
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from fastif import (
    Attributor,
    BinaryCrossEntropy,
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Dual,
    ExhaustiveSearch,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    Lissa,
    ModuleObjective,
    SmoothHinge,
    SquaredError,
    TensorExamples,
    TextExamples,
    TransformerObjective,
    all_ids,
    predict,
    self_influence,
)
from fastif.gradients.per_example import compute_loss_gradients, compute_measure_gradients
from fastif.losses import Loss, Measure
from fastif.models.prefix_cache import PrefixCache

N, QUERIES, ROWS, PENALTY = 80, 10, 24, 0.02
Losses = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Head:
    """A training set, queries, and the loss twice: ours, and by torch's own functions.

    `plain` is what the queries are judged by.
    """

    points: Tensor
    targets: Tensor
    queries: tuple[Tensor, Tensor]
    ours: Loss
    measure: Measure | None
    theirs: Losses
    plain: Losses
    outputs: int


@dataclass(frozen=True, eq=False)
class Trained:
    """A head, its model, and the change of each query, and of each row itself, without each row."""

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


@cache
def _digits(*chosen: int) -> tuple[Tensor, Tensor]:
    """Digits of 4 x 4 pixels with a constant, some of them with a wrong label."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).view(-1, 4, 2, 4, 2).mean((2, 4)) / 16
    points = torch.cat([images.flatten(1), torch.ones(len(images), 1, dtype=images.dtype)], 1)
    labels = torch.from_numpy(digits.target).long()
    if not chosen:
        return points, labels
    kept = (labels[:, None] == torch.tensor(chosen)).any(1)
    points, labels = points[kept], labels[kept]
    labels = (labels[:, None] == torch.tensor(chosen)).long().argmax(1)
    wrong = torch.rand(len(labels), generator=torch.Generator().manual_seed(0)) < 0.08
    return points, torch.where(wrong, (labels + 1) % len(chosen), labels)


def _make_head(points, targets, ours, theirs, outputs, measure=None, plain=None) -> Head:
    query_examples = points[-QUERIES:], targets[-QUERIES:]
    return Head(
        points[:N], targets[:N], query_examples, ours, measure, theirs, plain or theirs, outputs
    )


def _as_trained() -> Head:
    weights = (0.5, 2.0, 1.0)
    tensor = torch.tensor(weights, dtype=torch.float64)

    def theirs(z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z, y, tensor, reduction="none", label_smoothing=0.1)

    def plain(z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z, y, reduction="none")

    ours = CrossEntropy(0.1, weights)
    return _make_head(*_digits(0, 1, 8), ours, theirs, 3, CrossEntropy(), plain)


def _multi_label() -> Head:
    """Is a digit large, is it odd, does it have a loop?"""
    points, digit = _digits()
    loop = (digit[:, None] == torch.tensor([0, 6, 8, 9])).any(1)
    targets = torch.stack([digit >= 5, digit % 2 == 1, loop], 1).long()

    def theirs(z: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z, y.double(), reduction="none").sum(1)

    return _make_head(points, targets, BinaryCrossEntropy(), theirs, 3)


def _regression() -> Head:
    table = load_diabetes()
    points = torch.from_numpy(table.data)
    points = torch.cat([points / points.std(0), torch.ones(len(points), 1).double()], 1)
    targets = torch.from_numpy(table.target) / 100
    return _make_head(points, targets, SquaredError(), lambda z, y: (z[:, 0] - y).square(), 1)


def _hinge(t: float = 0.1) -> Head:
    def theirs(z: Tensor, y: Tensor) -> Tensor:
        return t * F.softplus((1 - (2 * y - 1) * z[:, 0]) / t, threshold=500)

    return _make_head(*_digits(1, 7), SmoothHinge(t), theirs, 1)


def _hinges(t: float = 0.2) -> Head:
    def theirs(z: Tensor, y: Tensor) -> Tensor:
        right = z.gather(1, y[:, None])
        return t * torch.logsumexp((1 - F.one_hot(y, 3) + z - right) / t, 1)

    return _make_head(*_digits(0, 1, 8), SmoothHinge(t), theirs, 3)


HEADS = {
    "as-trained": _as_trained,
    "multi-label": _multi_label,
    "regression": _regression,
    "hinge": _hinge,
    "hinges": _hinges,
}


@pytest.fixture(params=HEADS, scope="module")
def trained(request) -> Trained:
    head = HEADS[request.param]()
    convex = reference.Convex(head.points, head.targets, head.theirs, head.outputs, PENALTY)
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:ROWS].tolist()
    shape, points, targets = convex.shape, *head.queries

    def query_losses(row: Tensor) -> Tensor:
        return head.plain(points @ row.view(shape).T, targets)

    def own_loss(row: Tensor, i: int) -> Tensor:
        outputs = head.points[i : i + 1] @ row.view(shape).T
        return head.theirs(outputs, head.targets[i : i + 1])[0]

    again = {i: convex.train_without(i) for i in rows}
    changes = [query_losses(row) - query_losses(convex.weights) for row in again.values()]
    of_itself = [own_loss(row, i) - own_loss(convex.weights, i) for i, row in again.items()]
    module = nn.Linear(points.shape[1], head.outputs, bias=False).double()
    module.weight.data.copy_(convex.weights.view(shape))
    objective = ModuleObjective(module, head.ours, measure=head.measure, penalty=PENALTY)
    return Trained(head, convex, objective, rows, torch.stack(changes, 1), torch.stack(of_itself))


KINDS = {"gauss-newton": GaussNewton, "hessian": Hessian}


@pytest.mark.parametrize("kind", KINDS)
def test_the_curvature_is_that_of_what_was_minimised(trained, kind):
    """A linear model's Gauss-Newton matrix is its Hessian; the penalty is all of the damping."""
    operator = KINDS[kind](trained.objective, trained.train).with_damping(0.0)
    all_kept = torch.ones(N, dtype=torch.float64)
    expected = torch.func.hessian(trained.convex.value)(trained.convex.weights, all_kept)
    torch.testing.assert_close(operator.to_dense(), expected, rtol=1e-9, atol=1e-12)
    assert operator.damping == PENALTY


@pytest.mark.parametrize(
    ("kind", "solver"),
    [
        ("gauss-newton", Dual()),
        ("hessian", Direct()),
        ("gauss-newton", ConjugateGradient(tolerance=1e-8, max_steps=500)),
    ],
)
def test_predicted_effects_are_those_of_training_again(trained, kind, solver):
    operator = KINDS[kind](trained.objective, trained.train).with_damping(0.0)
    predicted, real = trained.effects(operator, solver)[:, trained.rows], trained.changes
    assert reference.pearson(predicted, real) > 0.985
    big = real.abs() > 0.1 * real.abs().max()
    assert big.sum() > 20
    assert (real[big] < 0).any()
    assert (real[big] > 0).any()
    assert (predicted[big].sign() == real[big].sign()).float().mean() > 0.97
    assert 0.8 < (predicted[big] / real[big]).median() < 1.05  # in its unit, not only in order


def test_self_influence_is_what_an_example_loses_without_itself(trained):
    operator = GaussNewton(trained.objective, trained.train).with_damping(0.0)
    actual = self_influence(Gradients(trained.objective), trained.train, operator, Dual())
    actual = actual[trained.rows]
    assert (actual >= 0).all()
    assert reference.pearson(actual, trained.own) > 0.98


def test_the_penalty_is_in_no_gradient_so_that_all_effects_sum_to_its_pull(trained):
    """At the minimum the losses pull as much as the penalty: 1/n Σ ∇L = -penalty·weights."""
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


def test_training_again_on_the_mean_of_the_rest_shifts_all_effects_by_their_mean():
    """With n-1 in place of n the penalty weighs less beside each row: one number for a query."""
    head = _as_trained()
    convex = reference.Convex(head.points, head.targets, head.theirs, head.outputs, 0.1)
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
            head.points[kept], head.targets[kept], head.theirs, head.outputs, 0.1
        )
        real.append(query_losses(again.weights) - query_losses(convex.weights))
    error = (shifted[:, :12] - torch.stack(real, 1)).norm()
    assert error < 0.1 * torch.stack(real, 1).norm()
    assert error < 0.5 * (effects[:, :12] - torch.stack(real, 1)).norm()


# What the study's kind of objective does with it.


def test_smoothing_and_weights_shape_training_and_not_what_a_query_is_judged_by():
    made = case("as-trained")
    objective = ModuleObjective(
        made.objective.module, made.objective.loss, measure=CrossEntropy(), penalty=0.1
    )
    plain = reference.Problem(**{**vars(made.problem), "loss": reference.cross_entropy})
    gradients, ids = Gradients(objective), all_ids(made.train)
    trained, query_gradients = reference.gradients(made.problem), reference.gradients(plain)
    assert not torch.allclose(trained, query_gradients, rtol=0.1)
    torch.testing.assert_close(
        compute_loss_gradients(gradients, made.train.with_batch_size(4), ids), trained
    )
    torch.testing.assert_close(
        compute_measure_gradients(gradients, made.train.with_batch_size(4), ids), query_gradients
    )
    operator = GaussNewton(objective, made.train).with_damping(0.3)
    answer = Attributor(objective, made.train, operator, Dual(), leverage="off")(made.train, ids)
    matrix = reference.gauss_newton(made.problem)
    expected = reference.removal_effects(query_gradients, trained, matrix, 0.4)
    influences = answer.influences
    torch.testing.assert_close(influences.removal_effect, expected.gather(1, influences.ids))
    row = reference.flatten_params(plain)
    torch.testing.assert_close(
        predict(objective, made.train)[1], reference.losses(plain, row).detach()
    )


@pytest.mark.parametrize("name", ["as-trained", "outside"])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_measure_may_be_any_function_of_the_outputs(name, one_by_one):
    class Margin(Measure):
        def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
            right = outputs.gather(1, targets[:, None])[:, 0]
            return right - outputs.scatter(1, targets[:, None], -torch.inf).logsumexp(1)

    def margin(outputs: Tensor, target: Tensor) -> Tensor:
        others = [outputs[c] for c in range(len(outputs)) if c != int(target)]
        return outputs[int(target)] - torch.stack(others).logsumexp(0)

    made = case(name)
    objective = ModuleObjective(made.objective.module, made.objective.loss, measure=Margin())
    gradients = Gradients(objective)
    if made.listens:
        gradients.per_example_backward = one_by_one
    problem = reference.Problem(**{**vars(made.problem), "loss": margin})
    actual = compute_measure_gradients(gradients, made.train.with_batch_size(4))
    torch.testing.assert_close(actual, reference.gradients(problem))


TEXT_HEADS = {
    "multi-label": (BinaryCrossEntropy(), reference.binary_cross_entropy, lambda z: (z > 0).long()),
    "regression": (SquaredError(), reference.squared_error, lambda z: z),
}


@pytest.mark.parametrize("name", TEXT_HEADS)
def test_text_models_with_other_heads_equal_the_dense_inverse(name):
    ours, theirs, draw = TEXT_HEADS[name]
    tokens = token_examples(7)
    generator = torch.Generator().manual_seed(5)
    labels = draw(torch.randn(7, 3, generator=generator, dtype=torch.float64))
    texts = TextExamples(tokens.tokens, None, labels, tokens.truncated, 0)
    model = transformer("bert", hidden_size=4, intermediate_size=2, num_hidden_layers=2)
    objective = TransformerObjective(model, "last:1", ours, penalty=0.05)
    train = PrefixCache(objective, texts, 10**6).with_batch_size(3)
    problem = reference.Problem(
        model,
        objective.space.names,
        [{"input_ids": row[None]} for row in texts.tokens],
        list(labels.split(1)),
        theirs,
    )
    rows = reference.gradients(problem)
    expected = reference.removal_effects(rows, rows, reference.gauss_newton(problem), 0.15)
    operator = GaussNewton(objective, train).with_damping(0.1)
    influences = Attributor(objective, train, operator, Dual(), leverage="off")(
        train, all_ids(train)
    ).influences
    torch.testing.assert_close(influences.removal_effect, expected.gather(1, influences.ids))


# Weight decay.


@pytest.mark.parametrize(
    "solver",
    [
        Dual(),
        Direct(),
        ConjugateGradient(tolerance=1e-10, max_steps=500),
        Lissa(depth=60, batch=128, scale=2.5, tolerance=0.1),
    ],
)
def test_a_penalty_adds_to_the_damping_of_every_solver(solver):
    made = case("mlp")
    objective = ModuleObjective(made.objective.module, made.objective.loss, penalty=0.3)
    operator = GaussNewton(objective, made.train.with_batch_size(128)).with_damping(0.2)
    assert operator.damping == operator.sample(torch.Generator(), 2).damping == 0.5
    matrix = reference.gauss_newton(made.problem)
    torch.testing.assert_close(
        operator.operator.to_dense(), matrix
    )  # the ridge is not of the losses
    rhs = reference.gradients(made.problem)[:2]
    solution = solver.solve(operator, rhs)
    expected = rhs @ torch.linalg.inv(matrix + 0.5 * torch.eye(len(matrix), dtype=matrix.dtype))
    close = 0.1 if isinstance(solver, Lissa) else 1e-6
    assert (solution.value - expected).norm() < close * expected.norm()
    assert solution.damping == 0.5
    assert solution.converged.all()


@pytest.mark.parametrize("penalty", [-0.1, float("nan"), float("inf")])
def test_a_penalty_that_no_training_has_is_refused(penalty):
    with pytest.raises(InputError, match="L2 weight decay"):
        ModuleObjective(nn.Linear(2, 2), CrossEntropy(), penalty=penalty)
    with pytest.raises(InputError, match="L2 weight decay"):
        TransformerObjective(transformer("bert"), "last:1", penalty=penalty)


# A real support vector machine, whose hinge has no second derivative.


class Score(Measure):
    """Minus the signed score of a query: what falls when the machine gets surer of the truth."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -(2 * targets - 1) * outputs[:, 0]


def test_a_smooth_hinge_predicts_a_machine_that_was_trained_with_the_hinge():
    """As in Koh and Liang: the smoothing serves the influence, not the training."""
    points, labels = _digits(1, 7)
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
