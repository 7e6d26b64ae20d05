"""Do effects on boosted trees predict what trees trained again on halves do?

`python -m benchmarks.trees` trains LightGBM, XGBoost and CatBoost on tables of scikit-learn and
synthetic ones, and writes benchmarks/results/trees.json with its page; ten minutes.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.halves import Halves, bootstrap_scores
from benchmarks.machine import describe
from benchmarks.page import publish
from benchmarks.trees.report import NAME, build_pages
from benchmarks.trees.subjects import LIBRARIES, TABLES, Subject, load_subject, make_catboost
from fastif.trees.boosting_loss import differentiate
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.trace_training import trace_training
from fastif.trees.training import TreeTraining
from fastif.trees.tree_attributor import TreeAttributor

HALVES = 80
OWN = ("leaf-influence", "boostin", "leaf-refit", "kernel")
REFIT_OUTPUTS = 3
"""Most outputs of an ensemble for the method leaf-refit, which repeats a training for each row."""


def main() -> None:
    """Measure all tables and libraries, and write the result and its page."""
    torch.set_num_threads(1)
    subjects = []
    for name in TABLES:
        subject = load_subject(name)
        for library in LIBRARIES:
            subjects.append(_measure(subject, library))
            print(name, library, subjects[-1]["scores"], file=sys.stderr, flush=True)
    result = {"halves": HALVES, "subjects": subjects, "machine": describe()}
    publish(NAME, result, build_pages(result))


def _measure(subject: Subject, library: str) -> dict:
    """Return the LDS of every method on one table and library."""
    train = LIBRARIES[library]
    with tempfile.TemporaryDirectory() as folder:
        ensemble = train(subject.kind, subject.rows, subject.targets, Path(folder))
        rows, targets = torch.tensor(subject.rows), torch.tensor(subject.targets)
        training = trace_training(ensemble, rows, targets)
        truth = _train_halves(subject, library, Path(folder))
    effects = _compute_effects(subject, library, training)
    return {
        "table": subject.name,
        "library": library,
        "rows": len(rows),
        "queries": len(subject.queries),
        "scores": bootstrap_scores(truth, effects),
    }


def _train_halves(subject: Subject, library: str, folder: Path) -> Halves:
    """Return the negative losses of the queries under ensembles of random halves."""
    random, count = np.random.default_rng(2), len(subject.rows)
    halves, outcomes = [], []
    for _ in range(HALVES):
        half = np.sort(random.permutation(count)[: count // 2])
        while len(np.unique(subject.targets[half])) < len(np.unique(subject.targets)) < 20:
            half = np.sort(random.permutation(count)[: count // 2])
        part = LIBRARIES[library](subject.kind, subject.rows[half], subject.targets[half], folder)
        halves.append(torch.tensor(half))
        outcomes.append(-_measure_queries(subject, part))
    return Halves(halves, torch.stack(outcomes))


def _measure_queries(subject: Subject, ensemble: TreeEnsemble) -> Tensor:
    outputs = ensemble.loss.to_logits(ensemble.predict(torch.tensor(subject.queries)))
    return ensemble.loss.measure(outputs, torch.tensor(subject.query_targets))


def _compute_effects(subject: Subject, library: str, training: TreeTraining) -> dict[str, Tensor]:
    """Return the effects of every method."""
    queries, targets = torch.tensor(subject.queries), torch.tensor(subject.query_targets)
    effects = {}
    for method in OWN:
        if method == "leaf-refit" and training.ensemble.loss.outputs > REFIT_OUTPUTS:
            continue
        effects[method] = TreeAttributor(training, method).compute_effects(queries, targets)
    effects["gradient product"] = _multiply_gradients(subject, training)
    if library == "CatBoost" and subject.kind != "classes":  # it supports one output
        effects["get_object_importance"] = _ask_catboost(subject)
    return effects


def _multiply_gradients(subject: Subject, training: TreeTraining) -> Tensor:
    """Return the products of gradients in the scores, times the number of shared leaves."""
    ensemble, loss = training.ensemble, training.ensemble.loss
    queries, targets = torch.tensor(subject.queries), torch.tensor(subject.query_targets)
    slopes = differentiate(loss.measure, loss, ensemble.predict(queries), targets)
    gradients = loss.gradient(ensemble.predict(torch.tensor(subject.rows)), training.targets)
    leaves = ensemble.assign(queries)
    shared = sum(
        (own[:, None] == leaf).double() for own, leaf in zip(leaves, training.leaves, strict=True)
    )
    return (slopes @ gradients.T) * shared


def _ask_catboost(subject: Subject) -> Tensor:
    """Return CatBoost's own LeafInfluence, a row of importances for each query.

    Its importance is the change of the loss with the row's weight, so a harmful row is positive.
    """
    import catboost

    model = make_catboost(subject.kind)
    pool = catboost.Pool(subject.rows, subject.targets)
    model.fit(pool)
    others = catboost.Pool(subject.queries, subject.query_targets)
    ids, scores = model.get_object_importance(others, pool, type="PerObject", thread_count=1)
    effects = torch.zeros(len(subject.queries), len(subject.rows)).double()
    return effects.scatter_(1, torch.tensor(np.array(ids)).long(), -torch.tensor(np.array(scores)))


if __name__ == "__main__":
    main()
