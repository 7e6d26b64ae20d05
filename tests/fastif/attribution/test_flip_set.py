"""Flip sets against brute force: every subset of a small training set is trained again."""

from dataclasses import replace
from itertools import combinations

import pytest
import reference
import torch
from cases import case
from torch import Tensor, nn

from fastif import (
    Attributor,
    BinaryCrossEntropy,
    ConjugateGradient,
    CrossEntropy,
    Direct,
    GaussNewton,
    Hessian,
    InputError,
    ModuleObjective,
    TensorExamples,
    find_flip_set,
    remove_group,
)
from fastif.attribution.edit_effects import compute_edit_effects
from fastif.attribution.edited_prefix import EditedPrefix
from fastif.attribution.edited_response import EditedResponse
from fastif.data.relabeled_examples import RelabeledExamples

PENALTY = 0.05
ROWS, QUERIES = 12, 6


def train_weighted(points: Tensor, labels: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Softmax regressions [m c d] with weights [m n] of the rows, by Newton's method."""
    count, width = points.shape
    found = torch.zeros(len(weights), classes, width, dtype=torch.float64)
    targets = torch.nn.functional.one_hot(labels, classes).double()
    targets = targets.expand(len(weights), -1, -1) if targets.dim() == 2 else targets
    for _ in range(25):
        chance = torch.softmax(points @ found.mT, -1)
        error = weights[:, :, None] * (chance - targets)
        gradient = (error.mT @ points / count + PENALTY * found).flatten(1)
        spread = torch.diag_embed(chance) - chance[..., None] * chance[..., None, :]
        hessian = torch.einsum("mn,mnab,nx,ny->maxby", weights, spread, points, points) / count
        size = classes * width
        hessian = hessian.reshape(-1, size, size) + PENALTY * torch.eye(size).double()
        found -= torch.linalg.solve(hessian, gradient).view_as(found)
    assert gradient.norm() < 1e-9
    return found


def make_problem(
    classes: int, seed: int, rows: int = ROWS, width: int = 3
) -> tuple[Attributor, TensorExamples]:
    """A converged softmax regression, and queries with a label that is never the predicted one."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(rows + QUERIES, width, generator=generator, dtype=torch.float64)
    truth = torch.randn(classes, width, generator=generator).double()
    noise = torch.randn(rows + QUERIES, classes, generator=generator)
    labels = (points @ truth.T + noise).argmax(1)
    labels[:classes] = torch.arange(classes)
    model = nn.Linear(width, classes, bias=False).double()
    weights = torch.ones(1, rows).double()
    model.weight.data = train_weighted(points[:rows], labels[:rows], weights, classes)[0]
    objective = ModuleObjective(model, CrossEntropy(), penalty=PENALTY)
    train = TensorExamples(points[:rows], labels[:rows], batch_size=5)
    operator = GaussNewton(objective, train).with_damping(0.0)
    unused = (model(points[rows:]).argmax(1) + 1) % classes
    return Attributor(objective, train, operator, Direct()), TensorExamples(points[rows:], unused)


def margin_after(weights: Tensor, point: Tensor, prediction: int) -> Tensor:
    """Margins [m] of a class against the largest other one, under weights [m c d]."""
    outputs = weights @ point
    others = outputs.clone()
    others[:, prediction] = -torch.inf
    return outputs[:, prediction] - others.max(1).values


def fewest_removed(attributor: Attributor, point: Tensor, prediction: int, most: int) -> int | None:
    """Size of the true smallest set without which another class is predicted."""
    points, labels = attributor.train.inputs, attributor.train.labels
    classes = len(attributor.objective.params["weight"])
    for size in range(1, most + 1):
        subsets = list(combinations(range(len(points)), size))
        weights = torch.ones(len(subsets), len(points)).double()
        for row, subset in zip(weights, subsets, strict=True):
            row[list(subset)] = 0
        trained = train_weighted(points, labels, weights, classes)
        if bool((margin_after(trained, point, prediction) < 0).any()):
            return size
    return None


@pytest.mark.parametrize("classes", [2, 3])
def test_the_set_flips_when_trained_again_and_is_hardly_larger_than_the_smallest(classes):
    sizes, smallest = [], []
    for seed in range(2):
        attributor, queries = make_problem(classes, seed)
        for query in range(4):
            flip = find_flip_set(attributor, queries, query, max_rows=5)
            point = queries.inputs[query]
            best = fewest_removed(attributor, point, flip.prediction, 3)
            if not flip.is_flip:
                assert best is None
                continue
            weights = torch.ones(1, ROWS).double()
            weights[0, flip.ids] = 0
            trained = train_weighted(*_data(attributor), weights, classes)
            real = float(margin_after(trained, point, flip.prediction)[0])
            assert real == pytest.approx(flip.corrected_margin, abs=0.1)
            assert real < 0
            assert int((trained[0] @ point).argmax()) == flip.corrected_prediction
            assert best is None or len(flip) >= best
            sizes, smallest = [*sizes, len(flip)], [*smallest, best or 4]
    assert len(sizes) >= 3
    assert sum(size - least for size, least in zip(sizes, smallest, strict=True)) <= 2


def _data(attributor: Attributor) -> tuple[Tensor, Tensor]:
    return attributor.train.inputs, attributor.train.labels


@pytest.mark.parametrize("classes", [2, 3])
def test_relabelled_sets_flip_when_trained_again(classes):
    flips = []
    for seed in (0, 1):
        attributor, queries = make_problem(classes, seed, rows=40)
        points, labels = _data(attributor)
        for query in (0, 1):
            flip = find_flip_set(attributor, queries, query, relabel=True, max_rows=5, steps=6)
            assert flip.new_labels is not None
            assert bool((flip.new_labels != labels[flip.ids]).all())
            if not flip.is_flip:
                continue
            edited = labels.clone()
            edited[flip.ids] = flip.new_labels
            trained = train_weighted(points, edited, torch.ones(1, 40).double(), classes)
            real = float(margin_after(trained, queries.inputs[query], flip.prediction)[0])
            assert real == pytest.approx(flip.corrected_margin, abs=0.02)
            flips.append(real < 0)
    assert len(flips) >= 2
    assert flips.count(False) <= 1  # the last Newton step leaves thousandths of a logit


def test_effects_are_the_derivatives_of_retraining():
    """Central differences of trainings with a small share of a row removed, or relabelled."""
    attributor, queries = make_problem(3, 4)
    points, labels = _data(attributor)
    point, step = queries.inputs[0], 1e-4
    shares = torch.tensor([-step, step], dtype=torch.float64)
    prediction = int((attributor.objective.params["weight"] @ point).argmax())
    rivals = [c for c in range(3) if c != prediction]
    query = RelabeledExamples(queries, torch.full((QUERIES,), prediction))
    removal, relabel = (
        compute_edit_effects(attributor, query, 0, rivals, labels, kind) for kind in (False, True)
    )

    def gaps(weights: Tensor) -> Tensor:
        outputs = weights @ point
        return outputs[:, rivals] - outputs[:, [prediction]]

    for row in range(0, ROWS, 3):
        both = torch.ones(2, ROWS).double()
        both[:, row] = 1 + shares
        less, more = gaps(train_weighted(points, labels, both, 3))
        torch.testing.assert_close(
            removal.values[:, row], (less - more) / (2 * step), rtol=1e-4, atol=1e-8
        )
        changes = []
        for label in range(3):  # a second copy of the row with the other label takes the share over
            longer = (
                torch.cat([points, points[row : row + 1]]),
                torch.cat([labels, torch.tensor([label])]),
            )
            both = torch.ones(2, ROWS + 1).double()
            both[:, row], both[:, -1] = 1 + shares, -shares
            scaled = both * (ROWS + 1) / ROWS  # the mean is over 12 rows
            less, more = gaps(train_weighted(*longer, scaled, 3))
            changes.append((less - more) / (2 * step))
        best = torch.stack(changes).index_fill(0, labels[row : row + 1], -torch.inf).max(0)
        torch.testing.assert_close(relabel.values[:, row], best.values, rtol=1e-4, atol=1e-8)
        assert relabel.labels is not None
        assert relabel.labels[:, row].tolist() == best.indices.tolist()


def test_the_prefix_is_the_smallest_set_under_additivity():
    for seed in range(2):
        attributor, queries = make_problem(3, seed)
        for query in range(3):
            flip = find_flip_set(attributor, queries, query, max_rows=1, steps=0)
            labels = attributor.train.labels
            rivals = [c for c in range(3) if c != flip.prediction]
            example = RelabeledExamples(queries, torch.full((QUERIES,), flip.prediction))
            effects = compute_edit_effects(attributor, example, query, rivals, labels, False).values
            outputs = attributor.objective.params["weight"] @ queries.inputs[query]
            margins = outputs[flip.prediction] - outputs[rivals]
            sizes = [
                size
                for size in range(1, 6)
                for subset in combinations(range(ROWS), size)
                if bool((effects[:, list(subset)].sum(1) > margins).any())
            ]
            expected = min(sizes, default=None)
            if expected is None:
                assert flip.first_order_size is None or flip.first_order_size > 5
            else:
                assert flip.first_order_size == expected


@pytest.mark.parametrize("name", ["mlp", "softmax", "as-trained"])
@pytest.mark.parametrize("relabel", [False, True])
def test_the_first_step_equals_the_dense_one(name, relabel):
    made = case(name, ROWS, 5)
    operator = GaussNewton(made.objective, made.train).with_damping(0.05)
    attributor = Attributor(made.objective, made.train, operator, Direct())
    ids = torch.tensor([7, 0, 9, 3, 1])
    labels = torch.stack(list(made.problem.targets))[:, 0]
    new = (labels[ids] + 1) % 3 if relabel else None
    prefix = EditedPrefix(attributor, has_curvature=True)
    for part in (slice(0, 2), slice(2, 5)):
        prefix.extend(ids[part], None if new is None else new[part])
    for size in (1, 3, 5):
        step, edited = prefix.compute_step(size), ids[:size].tolist()
        after = made.problem if new is None else _relabel(made.problem, edited, new)
        pull = reference.gradients(made.problem)[edited].sum(0)
        matrix = reference.gauss_newton(made.problem) * ROWS
        matrix = matrix - reference.gauss_newton(made.problem, edited) * size
        if new is not None:
            pull = pull - reference.gradients(after)[edited].sum(0)
            matrix = matrix + reference.gauss_newton(after, edited) * size
        matrix = matrix / ROWS + 0.05 * torch.eye(len(matrix)).double()
        torch.testing.assert_close(step.step, torch.linalg.solve(matrix, pull / ROWS))
        if not relabel:
            removal = remove_group(attributor, ids[:size], made.train, ids[:1])
            assert step.leverage == pytest.approx(removal.leverage)


def _relabel(problem: reference.Problem, ids: list[int], new: Tensor) -> reference.Problem:
    targets = list(problem.targets)
    for place, label in zip(ids, new, strict=False):
        targets[place] = label[None]
    return replace(problem, targets=targets)


@pytest.mark.parametrize("relabel", [False, True])
def test_further_steps_reach_the_retrained_model(relabel):
    attributor, _ = make_problem(3, 1, rows=30)
    points, labels = _data(attributor)
    ids = torch.tensor([3, 17, 4, 9])
    new = (labels[ids] + 1) % 3 if relabel else None
    prefix = EditedPrefix(attributor, has_curvature=True)
    prefix.extend(ids, new)
    response = EditedResponse(prefix, labels, torch.zeros(0, dtype=torch.long))
    edited, weights = labels.clone(), torch.ones(1, 30).double()
    if new is None:
        weights[0, ids] = 0
    else:
        edited[ids] = new
    truth = train_weighted(points, edited, weights, 3)[0]
    errors = []
    for steps in (0, 2, 8):
        (answer,) = response.refine([4], steps)
        change = truth - attributor.objective.params["weight"]
        errors.append(float((answer.change.view_as(change) - change).norm() / change.norm()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 1e-3
    assert answer.residual < 1e-3


def test_another_class_than_the_runner_up_may_take_fewer_rows():
    attributor, queries = make_problem(3, 3, rows=30)
    flip = find_flip_set(attributor, queries, 4, max_rows=20)
    assert flip.is_flip
    assert flip.rival != flip.runner_up
    assert flip.rival_margin > flip.margin
    weights = torch.ones(1, 30).double()
    weights[0, flip.ids] = 0
    trained = train_weighted(*_data(attributor), weights, 3)
    assert int((trained[0] @ queries.inputs[4]).argmax()) == flip.rival


def test_no_set_is_an_answer():
    attributor, _ = make_problem(2, 0)
    weight = attributor.objective.params["weight"]
    far = TensorExamples(50 * (weight[1] - weight[0])[None], torch.tensor([1]))
    flip = find_flip_set(attributor, far, 0, max_rows=2)
    assert not flip.is_flip
    assert len(flip) == 2
    assert flip.corrected_margin > 0
    assert flip.first_order_size is None or flip.first_order_size > 2
    weights = torch.ones(1, ROWS).double()
    weights[0, flip.ids] = 0
    trained = train_weighted(*_data(attributor), weights, 2)
    real = float(margin_after(trained, far.inputs[0], 1)[0])
    assert real == pytest.approx(flip.corrected_margin, rel=0.05)


def test_labels_of_queries_are_not_read():
    attributor, queries = make_problem(3, 2)
    answers = [
        find_flip_set(attributor, TensorExamples(queries.inputs, labels), 1)
        for labels in (queries.labels, (queries.labels + 1) % 3)
    ]
    assert answers[0].ids.tolist() == answers[1].ids.tolist()
    assert answers[0].corrected_margin == answers[1].corrected_margin


def test_rows_without_a_finite_gradient_are_left_out():
    attributor, queries = make_problem(2, 3)
    points = attributor.train.inputs.clone()
    points[5] = torch.nan
    train = TensorExamples(points, attributor.train.labels, batch_size=5)
    kept = torch.tensor([row for row in range(ROWS) if row != 5])
    operator = GaussNewton(attributor.objective, train, kept).with_damping(0.0)
    partial = replace(attributor, train=train, operator=operator)
    flip = find_flip_set(partial, queries, 0, max_rows=3)
    assert flip.left_out.tolist() == [5]
    assert 5 not in flip.ids
    assert any("1 training rows without a finite gradient" in note for note in flip.notes)
    assert any("curvature of the rows stays" in note for note in flip.notes)


def test_a_hessian_and_an_inexact_solve_are_told():
    attributor, queries = make_problem(2, 5)
    hessian = Hessian(attributor.objective, attributor.train).with_damping(0.0)
    flip = find_flip_set(replace(attributor, operator=hessian), queries, 0)
    assert any("Hessian has no factor rows" in note for note in flip.notes)
    exact = find_flip_set(attributor, queries, 0)
    assert exact.notes == ()
    assert flip.corrected_margin == pytest.approx(exact.corrected_margin, abs=0.02)
    loose = replace(attributor, solver=ConjugateGradient(tolerance=0.5, max_steps=1))
    flip = find_flip_set(loose, queries, 0)
    assert any("residual of the linear systems" in note for note in flip.notes)


def test_what_has_no_flip_set_is_refused():
    attributor, queries = make_problem(2, 6)
    with pytest.raises(InputError, match="1 or more"):
        find_flip_set(attributor, queries, 0, max_rows=0)
    with pytest.raises(InputError):
        find_flip_set(attributor, queries, QUERIES)
    objective = ModuleObjective(nn.Linear(3, 2).double(), BinaryCrossEntropy())
    train = TensorExamples(queries.inputs, torch.ones(QUERIES, 2).double())
    operator = GaussNewton(objective, train).with_damping(0.05)
    with pytest.raises(InputError, match="a classifier of two or more classes"):
        find_flip_set(Attributor(objective, train, operator, Direct()), train, 0)
