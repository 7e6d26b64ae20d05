"""A plain torch module through the library: every solver, curvature and search on one small net.

A study file cannot hold it. The names are those that `fastif` exports.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

import fastif
from tests.golden.rounding import BITS, digest, round_floats

ROWS, QUERIES, WIDTH = 20, 3, 3
DAMPING = 0.25
SOLVERS = (
    fastif.Dual(),
    fastif.Dual(rank=8),
    fastif.Direct(),
    fastif.ConjugateGradient(tolerance=1e-6),
    fastif.ConjugateGradient(tolerance=1e-6, preconditioner="eigen", rank=5),
    fastif.Lissa(batch=5, depth=40, repeats=2),
    fastif.Spectral(),
)
HESSIAN = (fastif.Direct(), fastif.ConjugateGradient(tolerance=1e-6))
LOSSES: dict[str, Callable[[], Any]] = {
    "cross entropy": fastif.CrossEntropy,
    "weighted, smoothed": lambda: fastif.CrossEntropy(0.1, [1.0, 2.0]),
    "squared error": fastif.SquaredError,
    "binary cross entropy": fastif.BinaryCrossEntropy,
    "smooth hinge": fastif.SmoothHinge,
}


def compute_answers() -> dict[str, Any]:
    """Answers of every case, by its name."""
    torch.set_num_threads(1)
    return {name: _document(answer) for name, answer in _cases()}


def _cases() -> Iterator[tuple[str, Any]]:
    objective, train, queries = _problem(fastif.CrossEntropy(), classes=2)
    gauss_newton = fastif.GaussNewton(objective, train)
    for solver in SOLVERS:
        yield (
            f"gauss-newton, {_named(solver)}",
            _answer(objective, train, queries, gauss_newton, solver),
        )
    hessian = fastif.Hessian(objective, train)
    for solver in HESSIAN:
        yield f"hessian, {_named(solver)}", _answer(objective, train, queries, hessian, solver, 2.0)
    ekfac = fastif.Ekfac.fit(gauss_newton)
    yield "ekfac, spectral", _answer(objective, train, queries, ekfac, fastif.Spectral())
    for name, search in _searches(objective, train, gauss_newton).items():
        yield name, _answer(objective, train, queries, gauss_newton, fastif.Dual(), search=search)
    operator = gauss_newton.with_damping(DAMPING)
    own = fastif.self_influence(fastif.Gradients(objective), train, operator, fastif.Dual())
    yield "self-influence", {"removal_effect": own}
    for name, loss in LOSSES.items():
        yield f"loss: {name}", _with_loss(loss())


def _searches(objective: Any, train: Any, curvature: Any) -> dict[str, Any]:
    rows = fastif.compute_embeddings(objective, train, fastif.all_ids(train))
    index = fastif.CandidateIndex.build(rows, "Flat")
    return {"nearest": fastif.NearestNeighbors(index, k=6), "all": fastif.ExhaustiveSearch(keep=4)}


def _with_loss(loss: Any) -> dict[str, Tensor]:
    classes = 1 if isinstance(loss, fastif.SquaredError | fastif.BinaryCrossEntropy) else 2
    objective, train, queries = _problem(loss, classes)
    curvature = fastif.GaussNewton(objective, train)
    return _answer(objective, train, queries, curvature, fastif.Dual())


def _answer(
    objective: Any,
    train: Any,
    queries: Any,
    curvature: Any,
    solver: Any,
    damping: float = DAMPING,
    search: Any = None,
) -> dict[str, Any]:
    attribution = fastif.Attributor(
        objective,
        train,
        curvature.with_damping(damping),
        solver,
        search or fastif.ExhaustiveSearch(),
    )(queries, fastif.all_ids(queries))
    evidence = attribution.certificate
    return {
        "ids": attribution.influences.ids,
        "removal_effect": attribution.influences.removal_effect,
        "residual": evidence.residual,
        "full_residual": evidence.full_residual,
        "converged": evidence.converged,
        "damping": evidence.damping,
    }


def _problem(loss: Any, classes: int) -> tuple[Any, Any, Any]:
    """A net of fractions, trained on nothing, and its rows."""
    draw = random.Random(f"plain {classes}")

    def fractions(*shape: int) -> Tensor:
        count = torch.Size(shape).numel()
        return torch.tensor([draw.randint(-128, 128) / 64 for _ in range(count)]).reshape(shape)

    net = nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Linear(4, classes))
    net.load_state_dict({name: fractions(*of.shape) for name, of in net.state_dict().items()})
    inputs = fractions(ROWS + QUERIES, WIDTH)
    labels = (inputs[:, 0] > inputs[:, 1]).long()
    targets = labels if classes > 1 else labels[:, None].float()
    train = fastif.TensorExamples(inputs[:ROWS], targets[:ROWS])
    queries = fastif.TensorExamples(inputs[ROWS:], targets[ROWS:])
    return fastif.ModuleObjective(net, loss), train, queries


def _named(solver: Any) -> str:
    """The record of a solver as a run keeps it."""
    return json.dumps(asdict(solver))


def _document(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: _values(value) for name, value in answer.items() if value is not None}


def _values(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return round_floats(value) if isinstance(value, float) else value
    if not value.is_floating_point():
        return value.tolist()
    numbers = value.contiguous()
    return {
        "values": round_floats(numbers.flatten().tolist()),
        BITS: digest(numbers.numpy().tobytes()),
    }
