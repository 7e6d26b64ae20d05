"""Candidate estimators of a workload by name: models, checkpoints, solvers, baselines.

Every candidate explains the same rows and queries with effects [q n] and is scored by the LDS. The
estimator that the product chooses is one of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor

import fastif
from benchmarks.fidelity.baselines import BASELINES, bm25, gradient_cosine
from benchmarks.fidelity.layered import layered_space
from benchmarks.fidelity.methods import (
    BATCH,
    PUBLISHED,
    Answer,
    answer,
    average_answers,
    curvature,
    exact,
    make_slug,
)
from benchmarks.fidelity.texts import RECIPE, Texts
from benchmarks.fidelity.workload import PARTS
from fastif.solvers import Factor, Solver
from fastif.unrolled.record_training import record_training
from fastif.unrolled.unrolled_attributor import UnrolledAttributor

if TYPE_CHECKING:
    from benchmarks.fidelity.judge import FidelityEvaluation

Maker = Callable[[], Answer]
MEMBERS = 5
"""Number of models whose effects are averaged."""


def list_candidates(evaluation: FidelityEvaluation) -> dict[str, Maker]:
    """Return the function that measures each candidate, by its name in the tables."""
    auto, approximate = (evaluation.choices[name].effective_damping for name in ("exact", "EK-FAC"))
    solver, spectral = exact(evaluation.matrix), fastif.Spectral()
    first = _by_factor if evaluation.few else partial(_solve, seed=0, solver=solver)
    several = partial(_mean, solver=solver) if evaluation.few else _mean_in_space
    makers: dict[str, Maker] = {
        "exact": partial(first, evaluation, damping=auto),
        "EK-FAC": partial(_solve, evaluation, seed=0, solver=spectral, damping=approximate),
    }
    if evaluation.several_models:
        makers["EK-FAC, mean of 5 models"] = partial(
            _mean, evaluation, solver=spectral, damping=approximate
        )
        makers["exact, mean of 5 models"] = partial(several, evaluation, damping=auto)
    for number in range(len(PARTS)):
        makers[f"exact, {_at(number)}"] = partial(_checkpoint, evaluation, number)
        makers[f"gradient cosine, {_at(number)}"] = partial(_checkpoint_cosine, evaluation, number)
    makers["exact, mean of 4 checkpoints"] = partial(_mean_of_checkpoints, evaluation)
    for name, estimator in evaluation.trials.list_others().items():
        makers[name] = partial(evaluation.trials.answer, estimator)
    if isinstance(evaluation.workload, Texts):
        makers["through the training"] = partial(_unroll, evaluation.workload)
    makers["exact, the paper's damping"] = partial(_in_space, evaluation, PUBLISHED)
    return {**makers, **_list_baselines(evaluation)}


def _list_baselines(evaluation: FidelityEvaluation) -> dict[str, Maker]:
    workload = evaluation.workload

    def measure(baseline: Callable[..., Tensor]) -> Answer:
        return _plain(baseline(evaluation.objective(0), workload.train, workload.query_examples))

    makers: dict[str, Maker] = {
        name: partial(measure, baseline) for name, baseline in BASELINES.items()
    }
    if isinstance(workload, Texts) and find_spec("bm25s"):  # in the extra bench-peers
        words = [workload.words(part) for part in (0, 1)]
        makers["BM25"] = lambda: _plain(bm25(*words))
    return makers


def _by_factor(evaluation: FidelityEvaluation, damping: float) -> Answer:
    """Return the effects with the kept factor, whose time is counted."""
    solver = exact(evaluation.matrix)
    solved = _solve(evaluation, 0, solver, damping, evaluation.factor)
    factor_seconds = json.loads((evaluation.folder / "factor.json").read_text())
    return replace(solved, seconds={**solved.seconds, "factor": factor_seconds})


def _solve(
    evaluation: FidelityEvaluation,
    seed: int,
    solver: Solver,
    damping: float,
    factor: Factor | None = None,
) -> Answer:
    workload, objective = evaluation.workload, evaluation.objective(seed)
    matrix = evaluation.matrix if seed == 0 else curvature(objective, workload.train)
    return answer(workload, matrix, objective, solver, damping, factor)


def _mean(evaluation: FidelityEvaluation, solver: Solver, damping: float) -> Answer:
    return average_answers([_solve(evaluation, seed, solver, damping) for seed in range(MEMBERS)])


def _mean_in_space(evaluation: FidelityEvaluation, damping: float) -> Answer:
    train, query_examples = evaluation.workload.train, evaluation.workload.query_examples
    spaces = (
        layered_space(evaluation.objective(seed), train, query_examples) for seed in range(MEMBERS)
    )
    effects = [space.effect(damping) for space in spaces]
    return Answer(torch.stack(effects).mean(0), {}, damping)


def _in_space(evaluation: FidelityEvaluation, damping: float) -> Answer:
    return replace(_plain(evaluation.space.effect(damping)), damping=damping)


def _unroll(workload: Texts) -> Answer:
    """Return the effects through a recorded training, which is that of the first model."""
    start, train = workload.start(0), workload.train
    config = fastif.TrainingConfig(**{**RECIPE.__dict__, "seed": 0})
    params, record = record_training(start, train, config)
    attributor = UnrolledAttributor(
        workload.at(start, params), train.with_batch_size(BATCH), record
    )
    begin = time.process_time()
    queries = workload.query_examples
    effect = attributor.compute_effects(queries, fastif.all_ids(queries))
    return Answer(effect, {"solve and score": time.process_time() - begin}, float("inf"))


def _checkpoint(evaluation: FidelityEvaluation, number: int) -> Answer:
    """Return the effects at a checkpoint, with the λ that the few retrainings select."""
    workload, objective = evaluation.workload, evaluation.checkpoints[number]
    matrix = curvature(objective, workload.train)
    damping = evaluation.trials.models[number + 1][0] + matrix.ridge
    factor = evaluation.checkpoint_factor(number)
    return answer(workload, matrix, objective, exact(matrix), damping, factor)


def _checkpoint_cosine(evaluation: FidelityEvaluation, number: int) -> Answer:
    workload = evaluation.workload
    objective = evaluation.checkpoints[number]
    return _plain(gradient_cosine(objective, workload.train, workload.query_examples))


def _mean_of_checkpoints(evaluation: FidelityEvaluation) -> Answer:
    names = ["exact", *(f"exact, {_at(number)}" for number in range(len(PARTS)))]
    paths = [evaluation.folder / f"{make_slug(name)}.safetensors" for name in names]
    effects = [load_file(path)["effect"] for path in paths]
    damping = evaluation.choices["exact"].effective_damping
    return Answer(torch.stack(effects).mean(0), {}, damping)


def _at(number: int) -> str:
    return f"at {PARTS[number]:g} of the training"


def _plain(effect: Tensor) -> Answer:
    return Answer(effect, {}, float("inf"))
