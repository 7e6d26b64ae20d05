"""Group removal: the Newton step against dense matrices and against retraining."""

from dataclasses import replace

import pytest
import reference
import torch
from cases import case
from torch import nn

from fastif import (
    Attributor,
    BinaryCrossEntropy,
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Dual,
    GaussNewton,
    InputError,
    ModuleObjective,
    TensorExamples,
    all_ids,
    remove_group,
)

N, DAMPING = 12, 0.05
QUERIES = torch.tensor([1, 5, 6])
GROUP = torch.tensor([7, 0, 9, 3])


def _attributor(name, solver, batch_size=5):
    made = case(name, N, batch_size)
    operator = GaussNewton(made.objective, made.train).with_damping(DAMPING)
    return Attributor(made.objective, made.train, operator, solver), made


@pytest.mark.default_cases
@pytest.mark.parametrize(
    "solver", [Direct(), Dual(), ConjugateGradient(tolerance=1e-12, max_steps=500)]
)
@pytest.mark.parametrize("name", ["mlp", "softmax", "as-trained"])
def test_the_step_equals_the_dense_one_without_the_group(name, solver):
    attributor, made = _attributor(name, solver)
    removal = remove_group(attributor, GROUP, made.train, QUERIES)
    rows = reference.gradients(made.problem)
    whole = reference.gauss_newton(made.problem) + DAMPING * torch.eye(rows.shape[1]).double()
    part = reference.gauss_newton(made.problem, GROUP.tolist()) * len(GROUP) / N
    pull = rows[GROUP].sum(0) / N
    step = torch.linalg.solve(whole - part, pull)
    torch.testing.assert_close(removal.linear, rows[QUERIES] @ step)
    first = rows[QUERIES] @ torch.linalg.solve(whole, pull)
    torch.testing.assert_close(removal.first_order, first)
    at = reference.flatten_params(made.problem)
    before, after = (reference.losses(made.problem, row)[QUERIES] for row in (at, at + step))
    torch.testing.assert_close(removal.effect, after - before)
    shares = torch.linalg.eigvals(torch.linalg.solve(whole, part)).real
    assert removal.leverage == pytest.approx(float(shares.max()))
    assert removal.residual < 1e-6


def test_a_group_of_one_row_has_its_removal_effect():
    attributor, made = _attributor("mlp", Direct())
    answer = attributor(made.train, QUERIES).influences
    for row in range(N):
        removal = remove_group(attributor, torch.tensor([row]), made.train, QUERIES)
        torch.testing.assert_close(removal.linear, answer.removal_effect[answer.ids == row])
    plain = replace(attributor, leverage="off")(made.train, QUERIES).influences
    group = remove_group(attributor, GROUP, made.train, QUERIES)
    for query in range(3):
        inside = torch.isin(plain.ids[query], GROUP)
        total = plain.removal_effect[query][inside].sum()
        torch.testing.assert_close(group.first_order[query], total)


@pytest.mark.default_cases
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("share", [0.05, 0.15])
def test_group_effects_match_retraining_without_the_group(classes, share):
    """All examples on one side of a line: first-order effects underestimate their removal most."""
    generator = torch.Generator().manual_seed(classes)
    points = torch.randn(300, 6, generator=generator, dtype=torch.float64)
    truth = torch.randn(max(classes, 2), 6, generator=generator).double()
    labels = torch.multinomial((points @ truth.T).softmax(1), 1, generator=generator)[:, 0]

    def loss(outputs, targets):
        if classes == 1:
            return nn.functional.binary_cross_entropy_with_logits(
                outputs[:, 0], targets.double(), reduction="none"
            )
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    world = reference.Convex(points[:250], labels[:250], loss, classes, 1e-3)
    model = nn.Linear(6, classes, bias=False).double()
    model.weight.data.copy_(world.weights.view(classes, 6))
    kind = BinaryCrossEntropy() if classes == 1 else CrossEntropy()
    objective = ModuleObjective(model, kind, penalty=1e-3)
    train, queries = (
        TensorExamples(points[:250], labels[:250]),
        TensorExamples(points[250:], labels[250:]),
    )
    operator = GaussNewton(objective, train).with_damping(0.0)
    group = (points[:250, 0]).argsort(descending=True)[: int(share * 250)]
    removal = remove_group(
        Attributor(objective, train, operator, Direct()), group, queries, all_ids(queries)
    )
    kept = torch.ones(250, dtype=torch.float64)
    kept[group] = 0
    again = world.minimize(world.weights, kept)

    def query_loss(row):
        return loss(queries.inputs @ row.view(classes, 6).T, queries.labels)

    real = query_loss(again) - query_loss(world.weights)
    errors = [
        (effect - real).norm() / real.norm() for effect in (removal.effect, removal.first_order)
    ]
    assert errors[0] < 0.1
    assert errors[0] < 0.4 * errors[1]


@pytest.mark.parametrize(
    "group", [torch.tensor([1, 1]), torch.tensor([12]), torch.tensor([-1]), torch.arange(N), []]
)
def test_invalid_groups_are_refused(group):
    attributor, made = _attributor("mlp", Direct())
    with pytest.raises(InputError, match="removal of a group"):
        remove_group(attributor, torch.as_tensor(group).long(), made.train, QUERIES)


def test_large_groups_and_nonfinite_gradients_are_refused(monkeypatch):
    attributor, made = _attributor("softmax", Direct())
    monkeypatch.setattr("fastif.attribution.group_removal.MAX_GROUP_FACTOR_ROWS", 5)
    with pytest.raises(InputError, match="at most 5 factor rows"):
        remove_group(attributor, GROUP, made.train, QUERIES)
    monkeypatch.undo()
    inputs = made.train.inputs.clone()
    inputs[7] = torch.nan
    train = TensorExamples(inputs, made.train.labels)
    operator = GaussNewton(made.objective, train).with_damping(DAMPING)
    broken = Attributor(made.objective, train, operator, Direct())
    with pytest.raises(InputError, match="finite gradients"):
        remove_group(broken, GROUP, made.train, QUERIES)
