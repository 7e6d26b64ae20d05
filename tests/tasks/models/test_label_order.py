"""Labels in another order than a model's outputs are detected from its predictions."""

import numpy as np
import pytest

from tasks.models.label_order import find_better_label_order

LABELS = ("a", "b", "c", "d")


def _predictions(accuracy, classes, rows, seed=0):
    draw = np.random.default_rng(seed)
    given = draw.integers(classes, size=rows)
    noise = draw.integers(classes, size=rows)
    return given, np.where(draw.random(rows) < accuracy, given, noise)


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [1, 2, 3, 0], [3, 2, 1, 0]])
def test_another_order_is_found(order):
    given, outputs = _predictions(0.8, 4, 400)
    # output j of the model is label order[j] of the study
    outputs = np.argsort(order)[outputs]
    better = find_better_label_order(given, outputs, LABELS)
    assert better is not None
    assert better.labels == tuple(LABELS[i] for i in order)
    named = np.array(order)[outputs] == given
    assert better.better_accuracy == pytest.approx(named.mean())
    assert better.accuracy == pytest.approx((outputs == given).mean())


@pytest.mark.parametrize("accuracy", [0.0, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_random_and_accurate_predictions_give_no_other_order(accuracy, classes):
    for seed in range(50):
        given, outputs = _predictions(accuracy, classes, 200, seed)
        assert find_better_label_order(given, outputs, LABELS[:classes]) is None


def test_a_constant_prediction_gives_no_other_order():
    given, _ = _predictions(1.0, 2, 200)
    assert find_better_label_order(given, np.zeros(200, dtype=int), LABELS[:2]) is None
    assert find_better_label_order(np.r_[given * 0, 1], np.ones(201, dtype=int), LABELS[:2]) is None


def test_a_few_rows_give_no_other_order():
    assert find_better_label_order([0, 1] * 4, [1, 0] * 4, LABELS[:2]) is None
    assert find_better_label_order([], [], LABELS[:2]) is None


def test_rare_labels_in_reverse_order_are_found():
    draw = np.random.default_rng(1)
    given = (draw.random(400) < 0.05).astype(int)
    outputs = np.where(draw.random(400) < 0.03, given, 1 - given)
    assert find_better_label_order(given, outputs, LABELS[:2]).labels == ("b", "a")
