"""Two worked examples of "Influence functions from scratch", against leave-one-out retraining.

One difference from the text is intended. There the penalty ½λ‖w‖² is part of every loss, so λw is
in each gradient, the query's too, and shifts all scores by a constant. Here the penalty is part of
no example: it belongs to the curvature, H + λI, where it is the damping, and gradients are those of
the plain losses. Retraining without an example then removes one term from 1/n Σ L_i + ½λ‖w‖² and
keeps the rest, n included.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import reference
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from fastif import (
    CrossEntropy,
    Direct,
    GaussNewton,
    Gradients,
    Hessian,
    Lissa,
    ModuleObjective,
    SquaredError,
    TensorExamples,
    influence,
)
from fastif.gradients.per_example import compute_loss_gradients, compute_measure_gradients
from fastif.losses import Measure
from fastif.solvers import Solution

FIRST_OUTLIER, SECOND_OUTLIER = 1, 15  # positions 1 and -5 of 20


class Prediction(Measure):
    """The prediction itself as measure, for a query without a known label."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum(1)


@dataclass(frozen=True, eq=False)
class Line:
    """20 points, the least-squares line, and retraining without each point."""

    train: TensorExamples
    query: TensorExamples
    module: nn.Linear
    change_of_prediction: Tensor
    change_of_loss: Tensor


@pytest.fixture(scope="module")
def line() -> Line:
    generator = torch.Generator().manual_seed(0)
    x = torch.arange(-5, 5, 0.5, dtype=torch.float64)
    noise = 0.1 * torch.randn(21, generator=generator, dtype=torch.float64)
    y = -5 * x + 5 + noise[:20]
    y[1] = y[-5] = 100.0
    points = torch.stack([x, torch.ones(20, dtype=torch.float64)], 1)
    query, target = torch.tensor([3.2, 1.0], dtype=torch.float64), -5 * 3.2 + 5 + noise[20]
    weights = reference.least_squares(points, y)
    kept = [[j for j in range(20) if j != i] for i in range(20)]
    again = torch.stack([reference.least_squares(points[ids], y[ids]) for ids in kept])
    module = nn.Linear(1, 1).double()
    module.weight.data[:] = weights[0]
    module.bias.data[:] = weights[1]
    return Line(
        TensorExamples(x[:, None], y[:, None]),
        TensorExamples(torch.tensor([[3.2]], dtype=torch.float64), target.view(1, 1)),
        module,
        again @ query - weights @ query,
        (again @ query - target) ** 2 - (weights @ query - target) ** 2,
    )


def _effects(line: Line, measure: Measure) -> Tensor:
    """Predicted removal effects of the 20 points on the measure of the query."""
    objective = ModuleObjective(line.module, SquaredError(), measure=measure)
    rows = compute_measure_gradients(Gradients(objective), line.query.with_batch_size(1))
    operator = Hessian(objective, line.train).with_damping(0.0)
    influences = influence(Gradients(objective), line.train, Direct().solve(operator, rows).value)
    return influences.removal_effect[0][influences.ids[0].argsort()]


def test_the_two_outliers_have_the_largest_effects(line):
    effects = _effects(line, SquaredError())
    assert set(effects.abs().topk(2).indices.tolist()) == {FIRST_OUTLIER, SECOND_OUTLIER}
    assert effects[FIRST_OUTLIER] > 0 > effects[SECOND_OUTLIER]
    # On retraining without the outlier at x = 2.5 the query's loss falls; without the one at
    # x = -4.5, which pulls the line down, it rises.
    assert line.change_of_loss[FIRST_OUTLIER] > 0 > line.change_of_loss[SECOND_OUTLIER]
    assert torch.equal(effects.sign(), line.change_of_loss.sign())


def test_predicted_changes_match_leave_one_out_retraining(line):
    effects = _effects(line, Prediction())
    assert reference.pearson(effects, line.change_of_prediction) > 0.99
    assert torch.equal(effects.sign(), line.change_of_prediction.sign())
    assert set(effects.abs().topk(2).indices.tolist()) == {FIRST_OUTLIER, SECOND_OUTLIER}


# 1 against 7 by logistic regression without a bias: pixels of length one, penalty 0.01.

PENALTY = 1e-2


@dataclass(frozen=True, eq=False)
class Digits:
    """Training set, one held-out query, and the fitted model."""

    points: Tensor
    labels: Tensor
    query: TensorExamples
    weights: Tensor
    objective: ModuleObjective

    @property
    def train(self) -> TensorExamples:
        return TensorExamples(self.points, self.labels)

    def rank_rows(self, solution: Solution) -> tuple[list[int], Tensor]:
        """All training examples, most harmful first, and their effects by position."""
        influences = influence(
            Gradients(self.objective), self.train.with_batch_size(256), solution.value
        )
        return influences.ids[0].tolist(), influences.removal_effect[0][influences.ids[0].argsort()]

    @property
    def gradient(self) -> Tensor:
        return compute_loss_gradients(Gradients(self.objective), self.query.with_batch_size(1))

    def changes(self, rows: list[int]) -> Tensor:
        """Change of the query's loss on retraining without each of these examples."""
        again = reference.LeaveOneOut(self.points, self.labels, self.weights, PENALTY)
        before = self._loss(self.weights)
        return torch.stack([self._loss(again.train_without(row)) - before for row in rows])

    def _loss(self, weights: Tensor) -> Tensor:
        outputs = self.query.inputs[0] @ weights.T
        return reference.cross_entropy(outputs, self.query.labels[0])


def _fit_digits(points: Tensor, labels: Tensor, point: Tensor, label: Tensor) -> Digits:
    points, point = (p / p.norm(dim=-1, keepdim=True) for p in (points, point))
    weights = reference.train_softmax(points, labels, 2, PENALTY)
    module = nn.Linear(points.shape[1], 2, bias=False).double()
    module.weight.data.copy_(weights)
    query = TensorExamples(point[None], label[None])
    return Digits(points, labels, query, weights, ModuleObjective(module, CrossEntropy()))


def _ends(ranking: list[int]) -> tuple[set[int], set[int]]:
    """The six most harmful and the six most helpful examples."""
    return set(ranking[:6]), set(ranking[-6:])


def _select_rows(ranking: list[int], count: int) -> list[int]:
    """The ten examples at each end of the ranking, and sampled others."""
    generator = torch.Generator().manual_seed(0)
    sampled = torch.randperm(len(ranking) - 20, generator=generator)[: count - 20] + 10
    return ranking[:10] + ranking[-10:] + [ranking[place] for place in sampled.tolist()]


def _check_against_training_again(digits: Digits, ranking: list[int], effects: Tensor, count: int):
    rows = _select_rows(ranking, count)
    predicted, real = effects[rows], digits.changes(rows)
    assert reference.pearson(predicted, real) > 0.95
    assert reference.pearson(predicted[20:], real[20:]) > 0.95  # not only in the top-k and bottom-k
    assert torch.equal(predicted[:20].sign(), real[:20].sign())
    assert (real[:10] < 0).all()
    assert (real[10:20] > 0).all()


@pytest.fixture(scope="module")
def small() -> Digits:
    """scikit-learn's 8 x 8 digits; the query is the first held-out one."""
    digits = load_digits()
    chosen = np.isin(digits.target, (1, 7))
    points = torch.from_numpy(digits.data[chosen])
    labels = torch.from_numpy((digits.target[chosen] == 7).astype(np.int64))
    return _fit_digits(points[:300], labels[:300], points[300], labels[300])


@pytest.mark.long
def test_lissa_and_the_exact_inverse_rank_the_same_digits(small):
    operator = Hessian(small.objective, small.train.with_batch_size(64)).with_damping(PENALTY)
    exact, effects = small.rank_rows(Direct().solve(operator, small.gradient))
    solution = Lissa(depth=2000, batch=50, scale=5.0).solve(operator, small.gradient)
    estimated, nearly = small.rank_rows(solution)
    assert solution.converged.all()
    assert _ends(estimated) == _ends(exact)
    assert not torch.equal(nearly, effects)  # two separate computations


def test_predicted_effects_on_a_digit_match_retraining(small):
    operator = GaussNewton(small.objective, small.train.with_batch_size(64)).with_damping(PENALTY)
    ranking, effects = small.rank_rows(Direct().solve(operator, small.gradient))
    _check_against_training_again(small, ranking, effects, 40)


@pytest.fixture(scope="module")
def mnist() -> Digits:
    """13,007 images; the query is the first 1 or 7 of the test file."""
    root = os.environ.get("FASTIF_DATA")
    if not root:
        pytest.skip("needs FASTIF_DATA, the folder with mnist/train.parquet and mnist/test.parquet")
    points, labels = _images(Path(root) / "mnist" / "train.parquet")
    test_points, answers = _images(Path(root) / "mnist" / "test.parquet")
    assert len(points) == 13_007
    return _fit_digits(points, labels, test_points[0], answers[0])


def _images(path: Path) -> tuple[Tensor, Tensor]:
    table = pl.read_parquet(path).filter(pl.col("label").is_in([1, 7]))
    pixels = np.frombuffer(b"".join(table["image"]), np.uint8).reshape(-1, 784)
    labels = (table["label"] == 7).cast(pl.Int64).to_torch()
    return torch.from_numpy(pixels.astype(np.float64)), labels


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_mnist_effects_match_the_exact_inverse_and_retraining(mnist):
    operator = GaussNewton(mnist.objective, mnist.train.with_batch_size(256)).with_damping(PENALTY)
    exact, effects = mnist.rank_rows(Direct().solve(operator, mnist.gradient))
    sampled = Hessian(mnist.objective, mnist.train.with_batch_size(512)).with_damping(PENALTY)
    solution = Lissa(depth=2000, repeats=2, batch=256, scale=5.0).solve(sampled, mnist.gradient)
    estimated, _ = mnist.rank_rows(solution)
    assert solution.converged.all()
    assert _ends(estimated) == _ends(exact)
    _check_against_training_again(mnist, exact, effects, 100)
