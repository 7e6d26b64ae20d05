"""Error correction: its rows against the dense influence formula, and the gain on failures."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fastif import CrossEntropy, Direct, GaussNewton, InputError, ModuleObjective, TensorExamples
from fastif.correction import Correction, correct
from fastif.training.retrain import compute_losses, retrain_exact

DAMPING = 0.1


def make_world(seed=0):
    """Softmax regression on points away from the failure set."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 5, generator=generator, dtype=torch.float64)
    y = (x[:, 0] > 0).long()
    y[:20] = (x[:20, 1] > 0).long()  # some rows teach another rule
    objective = ModuleObjective(nn.Linear(5, 2).double(), CrossEntropy())
    rows = TensorExamples(x, y)
    objective.params = retrain_exact(objective, rows, 0.05)
    a = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    anchors = TensorExamples(a, (a[:, 1] > 0).long())
    operator = GaussNewton(objective, rows).with_damping(DAMPING)
    return objective, rows, anchors, lambda b: Direct().solve(operator, b).value


def compute_effects(objective, rows, anchors, query_ids):
    """Removal effect of every row on the mean loss of some failures, dense, by autograd."""
    theta = torch.cat([p.flatten() for p in objective.params.values()])

    def outputs(t, x):
        return x @ t[:10].view(2, 5).T + t[10:]

    def gradient(x, y):
        t = theta.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(outputs(t, x), y)
        return torch.autograd.grad(loss, t)[0]

    def mean_loss(t):
        return torch.nn.functional.cross_entropy(outputs(t, rows.inputs), rows.labels)

    H = torch.autograd.functional.hessian(mean_loss, theta)
    s = torch.linalg.solve(
        H + DAMPING * torch.eye(12).double(),
        gradient(anchors.inputs[query_ids], anchors.labels[query_ids]),
    )
    each = [gradient(rows.inputs[i : i + 1], rows.labels[i : i + 1]) for i in range(80)]
    return torch.stack(each) @ s / 80


@pytest.mark.parametrize("by", ["helpful", "harmful"])
def test_a_step_uses_the_most_extreme_rows_of_the_dense_formula(by):
    objective, rows, anchors, solve = make_world()
    config = Correction(steps=1, anchors=8, rows=6, pool=80, by=by)
    result = correct(objective, rows, anchors, solve, config)
    query_ids = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:8]
    effects = compute_effects(objective, rows, anchors, query_ids)
    order = effects.argsort(descending=by == "helpful")
    assert set(result.rows_used[0].tolist()) == set(order[:6].tolist())


def compute_loss_after(by, **changes):
    objective, rows, anchors, solve = make_world()
    config = replace(Correction(steps=30, rows=8, pool=60, learning_rate=0.02), by=by, **changes)
    result = correct(objective, rows, anchors, solve, config)
    batch = anchors.take(torch.arange(30))
    return float(compute_losses(objective, result.params, batch).mean())


def test_helpful_rows_lower_the_failure_loss_and_harmful_ones_raise_it():
    objective, _, anchors, _ = make_world()
    before = float(
        compute_losses(objective, objective.params, anchors.take(torch.arange(30))).mean()
    )
    helped, harmed, random = (compute_loss_after(by) for by in ("helpful", "harmful", "random"))
    assert helped < before - 0.1
    assert helped < random < harmed
    assert harmed > before


def test_a_seed_determines_the_correction_and_the_model_is_unchanged():
    objective, rows, anchors, solve = make_world()
    kept = {name: tensor.clone() for name, tensor in objective.params.items()}
    config = Correction(steps=3, pool=40)
    first, second = (correct(objective, rows, anchors, solve, config) for _ in range(2))
    assert all(torch.equal(first.params[name], second.params[name]) for name in kept)
    assert all(torch.equal(a, b) for a, b in zip(first.rows_used, second.rows_used, strict=True))
    assert all(torch.equal(objective.params[name], kept[name]) for name in kept)
    other = correct(objective, rows, anchors, solve, replace(config, seed=1))
    assert not all(torch.equal(a, b) for a, b in zip(first.rows_used, other.rows_used, strict=True))


def test_steps_may_use_the_failures_themselves():
    objective, rows, anchors, solve = make_world()
    result = correct(objective, rows, anchors, solve, Correction(steps=2, anchors=5, by="anchors"))
    assert [len(taken) for taken in result.rows_used] == [5, 5]
    assert all(int(taken.max()) < 30 for taken in result.rows_used)


@pytest.mark.parametrize("keys", [{"steps": 0}, {"learning_rate": -1.0}, {"by": "best"}])
def test_invalid_settings_are_refused(keys):
    with pytest.raises(InputError):
        Correction(**keys)


@pytest.mark.parametrize("by", ["helpful", "harmful"])
def test_rows_with_a_non_finite_gradient_are_never_used(by):
    objective, rows, anchors, solve = make_world()
    rows.inputs[[3, 79]] = torch.nan
    config = Correction(steps=2, rows=6, pool=80, by=by)
    result = correct(objective, rows, anchors, solve, config)
    taken = torch.cat(list(result.rows_used))
    assert not {-1, 3, 79} & set(taken.tolist())
    assert all(bool(tensor.isfinite().all()) for tensor in result.params.values())


@pytest.mark.parametrize("by", ["helpful", "harmful"])
def test_balanced_rows_match_the_label_distribution_of_the_failures(by):
    objective, rows, anchors, solve = make_world()
    config = Correction(steps=1, anchors=8, rows=9, pool=80, by=by, balanced=True)
    result = correct(objective, rows, anchors, solve, config)
    query_ids = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:8]
    effects = compute_effects(objective, rows, anchors, query_ids)
    order = effects.argsort(descending=by == "helpful").tolist()
    ones = int(anchors.labels[query_ids].sum())
    expected = []
    for label, share in ((0, 8 - ones), (1, ones)):
        expected.append([i for i in order if rows.labels[i] == label][: round(share * 9 / 8)])
    assert set(result.rows_used[0].tolist()) == {i for some in expected for i in some}


def test_labels_with_too_few_rows_are_filled_up_with_others():
    objective, rows, anchors, solve = make_world()
    few = TensorExamples(
        rows.inputs[:40], torch.zeros(40).long().index_fill(0, torch.tensor([3]), 1)
    )
    config = Correction(steps=2, anchors=20, rows=10, pool=40, balanced=True)
    result = correct(objective, few, anchors, solve, config)
    assert all(len({*taken.tolist()}) == 10 for taken in result.rows_used)
    assert all(3 in taken.tolist() for taken in result.rows_used)
