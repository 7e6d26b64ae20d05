"""Accuracy of all solvers on a convex problem, against the dense inverse and retraining.

Softmax regression on the digits 1 and 7 of MNIST, trained to convergence in double precision: the
only workload small enough for an exact reference.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

import fastif
from benchmarks.fidelity.softmax import Softmax, losses
from fastif.numerics.correlation import pearson
from fastif.solvers import Solver

DIGITS = (1, 7)
BATCH = 256
Result = TypeVar("Result")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurement.

    Attributes:
        rows: Number of training rows; None takes all.
        queries: Number of queries.
        removed: Number of leave-one-out retrainings; half of influential rows, half of random
            ones.
        top: Number k of the compared top-k and bottom-k rows.
        penalty: L2 penalty of training, which is the damping of all solvers.
        rank: Rank of the low-rank dual.
        sampled: Number of curvature rows of the exact dual, whose kernel is rows x rows.
        lissa: Maximum number of steps of LiSSA.
    """

    rows: int | None = None
    queries: int = 50
    removed: int = 40
    top: int = 100
    penalty: float = 1e-2
    rank: int = 800
    sampled: int = 2_000
    lissa: int = 10_000


FULL = Sizes()
QUICK = Sizes(rows=600, queries=8, removed=10, top=20, rank=120, sampled=200, lissa=300)


@dataclass(frozen=True, eq=False)
class Problem:
    """Trained model, its queries, and their exact effects."""

    model: Softmax
    points: Float[Tensor, "q d"]
    labels: Int[Tensor, " q"]
    sizes: Sizes

    @property
    def train(self) -> fastif.TensorExamples:
        return fastif.TensorExamples(self.model.points, self.model.labels)

    def objective(self) -> fastif.ModuleObjective:
        """Model as an objective of fastif; parameters in the order of the closed form."""
        classes, width = self.model.weights.shape
        module = torch.nn.Linear(width, classes, bias=False).double()
        module.weight.data.copy_(self.model.weights)
        return fastif.ModuleObjective(module, fastif.CrossEntropy(), penalty=self.model.penalty)


def convex(data: Path, sizes: Sizes = FULL) -> dict:
    """Return errors, rankings, seconds and agreement with retraining of all solvers on MNIST.

    Args:
        data: Folder with mnist/train.parquet and mnist/test.parquet.
        sizes: Sizes of the measurement.
    """
    points, labels = _images(data / "mnist" / "train.parquet", sizes.rows)
    query_points, query_labels = _images(data / "mnist" / "test.parquet", sizes.queries)
    return measure_convex(Softmax(points, labels, sizes.penalty), query_points, query_labels, sizes)


def measure_convex(
    model: Softmax, points: Float[Tensor, "q d"], labels: Int[Tensor, " q"], sizes: Sizes
) -> dict:
    """Return the measurements for any softmax regression and its queries."""
    training, _ = _time(lambda: model.weights)
    problem = Problem(model, points, labels, sizes)
    queries = model.gradients(points, labels)
    trained = model.gradients(model.points, model.labels)
    inverting, exact = _time(lambda: torch.cholesky_solve(queries.T, model.factor).T)
    effects = exact @ trained.T / len(trained)
    removed = _select_removed(effects, sizes.removed)
    retraining, real = _time(lambda: _changes(problem, removed))
    return {
        "problem": {
            "train_rows": len(trained),
            "queries": len(queries),
            "parameters": queries.shape[1],
            "top": sizes.top,
            "damping": model.penalty,
            "gradient_norm": float(model.gradient(model.weights[None]).norm()),
        },
        "seconds": {"train": training, "dense_inverse": inverting, "retrain": retraining},
        "leave_one_out": {"rows": removed.tolist(), **agreement(effects[:, removed], real)},
        "solvers": [
            _line(trial, problem, queries, exact, effects, removed, real) for trial in trials(sizes)
        ],
    }


@dataclass(frozen=True)
class Trial:
    """One solver; with `rows`, on the curvature of that many training rows."""

    name: str
    solver: Solver
    rows: int | None = None


def trials(sizes: Sizes) -> list[Trial]:
    """Return the solvers in the order of the table."""
    cg, lissa = fastif.ConjugateGradient, fastif.Lissa
    return [
        Trial("Direct", fastif.Direct()),
        Trial(f"Dual, rank {sizes.rank:,}", fastif.Dual(rank=sizes.rank)),
        Trial(f"Dual, {sizes.sampled:,} curvature rows", fastif.Dual(), sizes.sampled),
        Trial("CG", cg()),
        Trial("CG, EK-FAC preconditioner", cg(preconditioner="ekfac")),
        Trial("CG, eigenvector preconditioner", cg(preconditioner="eigen")),
        Trial("LiSSA", lissa(max_steps=sizes.lissa)),
        Trial("LiSSA, the paper's setting", lissa(preset="fastif")),
        Trial("EK-FAC alone", fastif.Spectral()),
    ]


def overlap(
    estimated: Float[Tensor, "q n"], exact: Float[Tensor, "q n"], top: int
) -> Float[Tensor, " q"]:
    """Return the share of the top-k and bottom-k rows, k = `top`, that are the exact ones.

    >>> overlap(torch.tensor([[0.1, 0.9, 0.2, 0.3]]), torch.tensor([[0.0, 0.9, 0.4, 0.3]]), 1)
    tensor([1.])
    """
    shares = []
    for sign in (-1, 1):
        ends = [(sign * scores.nan_to_num()).topk(top).indices for scores in (estimated, exact)]
        shares.append((ends[0][:, :, None] == ends[1][:, None]).any(2).double().mean(1))
    return ((shares[0] + shares[1]) / 2).to(exact.dtype)


def agreement(predicted: Float[Tensor, "q r"], real: Float[Tensor, "q r"]) -> dict:
    """Return Pearson's correlation and the slope through zero (1 is right) over the queries.

    >>> found = agreement(torch.tensor([[1.0, -2.0]]), torch.tensor([[2.0, -4.0]]))
    >>> round(found["pearson"]["mean"], 6), found["slope"]["mean"]
    (1.0, 2.0)
    """
    slope = (predicted * real).sum(1) / predicted.square().sum(1)
    across = pearson(predicted, real)
    return {
        name: {"mean": number(x.mean()), "least": number(x.min()), "most": number(x.max())}
        for name, x in (("pearson", across), ("slope", slope))
    }


def number(value: Tensor) -> float | None:
    """Return a number for JSON: None for NaN and infinity."""
    return float(value) if bool(torch.isfinite(value)) else None


def _line(
    trial: Trial,
    problem: Problem,
    queries: Tensor,
    exact: Tensor,
    effects: Tensor,
    removed: Tensor,
    real: Tensor,
) -> dict:
    objective, train = problem.objective(), problem.train
    operator = fastif.GaussNewton(
        objective, train.with_batch_size(BATCH), _sample(trial, train)
    ).with_damping(0.0)
    factoring, factor = _time(lambda: trial.solver.factor(operator))
    solving, solution = _time(lambda: trial.solver.solve(operator, queries, factor))
    value, top = solution.value, min(problem.sizes.top, len(train))
    scores = _scores(objective, train, value)
    left = queries - value @ problem.model.curvature
    return {
        "name": trial.name,
        "settings": asdict(trial.solver),  # type: ignore[call-overload]
        "curvature_rows": trial.rows,
        "relative_error": _spread((value - exact).norm(dim=1) / exact.norm(dim=1)),
        "overlap": number(overlap(scores, effects, top).mean()),
        "residual": _spread(left.norm(dim=1) / queries.norm(dim=1)),
        "residual_it_says": _spread(solution.residual),
        "converged": int(solution.converged.sum()),
        "steps": solution.steps,
        "factor_seconds": factoring,
        "solve_seconds_per_query": solving / len(queries),
        "leave_one_out": agreement(scores[:, removed], real),
    }


def _scores(
    objective: fastif.Objective, train: fastif.Examples, value: Tensor
) -> Float[Tensor, "q n"]:
    """Return removal effects by fastif in the order of the training rows."""
    influences = fastif.influence(
        fastif.Gradients(objective), train.with_batch_size(len(train)), value
    )
    return influences.removal_effect.gather(1, influences.ids.argsort(1))


def _sample(trial: Trial, train: fastif.Examples) -> Tensor | None:
    if trial.rows is None:
        return None
    return torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: trial.rows]


def _select_removed(effects: Float[Tensor, "q n"], count: int) -> Int[Tensor, " r"]:
    """Return rows to remove: half with the largest total effects, half sampled from the others."""
    order = effects.square().sum(0).argsort(descending=True, stable=True)
    head, rest = order[: count // 2], order[count // 2 :]
    sampled = torch.randperm(len(rest), generator=torch.Generator().manual_seed(0))
    return torch.cat([head, rest[sampled[: count - len(head)]]])


def _changes(problem: Problem, removed: Tensor) -> Float[Tensor, "q r"]:
    """Return the change of each query loss after retraining without a row."""
    weights = torch.cat([problem.model.weights[None], problem.model.without(removed)])
    query_losses = losses(weights, problem.points, problem.labels)
    return (query_losses[1:] - query_losses[0]).T


def _spread(values: Tensor) -> dict:
    return {"median": number(values.median()), "most": number(values.max())}


def _time(call: Callable[[], Result]) -> tuple[float, Result]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _images(path: Path, count: int | None) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
    """Return pixels of norm one with an appended 1, and the class of the digit."""
    table = pl.read_parquet(path).filter(pl.col("label").is_in(DIGITS))
    table = table.sample(count or len(table), seed=0, shuffle=True)
    pixels = np.stack([np.frombuffer(image, np.uint8) for image in table["image"]])
    points = torch.nn.functional.normalize(torch.from_numpy(pixels.astype(np.float64)))
    labels = torch.tensor((table["label"] == DIGITS[1]).cast(pl.Int64).to_list())
    return torch.cat([points, points.new_ones(len(points), 1)], 1), labels
