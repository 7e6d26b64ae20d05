"""Flip sets against brute force: every subset of a small training set is trained again."""

from dataclasses import replace
from itertools import combinations

import pytest
import reference
import torch
from cases import case
from torch import Tensor

from fastif import (
    Attributor,
    Direct,
    GaussNewton,
    find_flip_set,
    remove_group,
)
from fastif.attribution.edit_effects import compute_edit_effects
from fastif.attribution.edited_prefix import EditedPrefix
from fastif.attribution.edited_response import EditedResponse
from fastif.data.relabeled_examples import RelabeledExamples
from tests.fastif.attribution.softmax_subsets import (
    QUERIES,
    ROWS,
    fewest_removed,
    make_problem,
    margin_after,
    read_data,
    train_weighted,
)


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
            trained = train_weighted(*read_data(attributor), weights, classes)
            real = float(margin_after(trained, point, flip.prediction)[0])
            assert real == pytest.approx(flip.corrected_margin, abs=0.1)
            assert real < 0
            assert int((trained[0] @ point).argmax()) == flip.corrected_prediction
            assert best is None or len(flip) >= best
            sizes, smallest = [*sizes, len(flip)], [*smallest, best or 4]
    assert len(sizes) >= 3
    assert sum(size - least for size, least in zip(sizes, smallest, strict=True)) <= 2


@pytest.mark.parametrize("classes", [2, 3])
def test_relabelled_sets_flip_when_trained_again(classes):
    flips = []
    for seed in (0, 1):
        attributor, queries = make_problem(classes, seed, rows=40)
        points, labels = read_data(attributor)
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
    points, labels = read_data(attributor)
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
    points, labels = read_data(attributor)
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
    trained = train_weighted(*read_data(attributor), weights, 3)
    assert int((trained[0] @ queries.inputs[4]).argmax()) == flip.rival
