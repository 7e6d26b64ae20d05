"""Flip sets that do not exist, or that rows, models or solves leave uncertain."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fastif import (
    Attributor,
    BinaryCrossEntropy,
    ConjugateGradient,
    Direct,
    GaussNewton,
    Hessian,
    InputError,
    ModuleObjective,
    TensorExamples,
    find_flip_set,
)
from tests.fastif.attribution.softmax_subsets import (
    QUERIES,
    ROWS,
    make_problem,
    margin_after,
    read_data,
    train_weighted,
)


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
    trained = train_weighted(*read_data(attributor), weights, 2)
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
