"""Do effects predict retraining where targets are not one class a row?

`python -m benchmarks.targets --data DATA --emotions GOEMOTIONS` reads Amazon reviews, and
GoEmotions if its folder with train.tsv and labels.txt is given; ten minutes.
"""

import argparse
import os
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.halves import Halves, bootstrap_scores
from benchmarks.machine import describe
from benchmarks.page import publish
from benchmarks.targets.loss_check import measure_loss_check
from benchmarks.targets.report import NAME, build_pages
from benchmarks.targets.subjects import TargetSubject, list_subjects
from fastif.gradients.per_example import compute_loss_gradients
from fastif.training.retrain import retrain_exact

PENALTY = 3e-3
HALVES = 24


def main() -> None:
    """Measure all subjects, and write the result and its page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=os.environ.get("FASTIF_DATA"))
    parser.add_argument("--emotions", type=Path, default=None)
    chosen = parser.parse_args()
    if chosen.data is None or not (chosen.data / "amazon_reviews5").is_dir():
        parser.error("--data must name the folder with amazon_reviews5")
    torch.set_num_threads(1)
    subjects = []
    for subject in list_subjects(chosen.data, chosen.emotions):
        subjects.append(_measure(subject))
        print(subjects[-1], flush=True)
    skipped = [] if chosen.emotions else ["GoEmotions: no folder was given"]
    check = measure_loss_check(chosen.data)
    result = {
        "penalty": PENALTY,
        "halves": HALVES,
        "subjects": subjects,
        "skipped": skipped,
        "check": check,
        "machine": describe(),
    }
    publish(NAME, result, build_pages(result))


def _measure(subject: TargetSubject) -> dict:
    torch.manual_seed(0)
    for parameter in subject.module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    objective = fastif.ModuleObjective(
        subject.module, subject.loss, measure=subject.measure, penalty=PENALTY
    )
    objective.params = retrain_exact(objective, subject.train, PENALTY)
    effects = {"influence": _compute_effects(objective, subject)}
    effects["gradient product"] = _compute_products(objective, subject)
    halves, outcomes = _retrain(objective, subject)
    scores = bootstrap_scores(Halves(halves, outcomes), effects)
    return {
        "data": subject.data,
        "target": subject.target,
        "rows": len(subject.train),
        "queries": len(subject.queries),
        "parameters": objective.space.size,
        "scores": scores,
    }


def _compute_effects(
    objective: fastif.ModuleObjective, subject: TargetSubject
) -> Float[Tensor, "q n"]:
    """Removal effects of all training rows by a direct solve with the Gauss-Newton matrix."""
    operator = fastif.GaussNewton(objective, subject.train).with_damping(0.0)
    search = fastif.ExhaustiveSearch(keep=len(subject.train))
    attributor = fastif.Attributor(
        objective, subject.train, operator, fastif.Direct(), search=search, leverage="off"
    )
    influences = attributor(subject.queries).influences
    effects = torch.zeros(len(subject.queries), len(subject.train), dtype=torch.float64)
    return effects.scatter_(1, influences.ids, influences.removal_effect.double())


def _compute_products(
    objective: fastif.ModuleObjective, subject: TargetSubject
) -> Float[Tensor, "q n"]:
    """Products of the gradients of queries and rows, without a curvature."""
    gradients = fastif.Gradients(objective)
    every = fastif.all_ids
    train = compute_loss_gradients(gradients, subject.train, every(subject.train))
    plain = fastif.ModuleObjective(objective.module, subject.measure)
    plain.params = objective.params
    queries = compute_loss_gradients(
        fastif.Gradients(plain), subject.queries, every(subject.queries)
    )
    return queries.double() @ train.double().T


def _retrain(
    objective: fastif.ModuleObjective, subject: TargetSubject
) -> tuple[list[Tensor], Float[Tensor, "m q"]]:
    """Return random halves, and minus the losses of the queries after training on each."""
    generator = torch.Generator().manual_seed(0)
    count = len(subject.train)
    batch = subject.queries.take(fastif.all_ids(subject.queries))
    halves, outcomes = [], []
    for _ in range(HALVES):
        half = torch.randperm(count, generator=generator)[: count // 2]
        weights = torch.zeros(count, dtype=torch.float64)
        weights[half] = 1
        params = retrain_exact(objective, subject.train, PENALTY, weights)
        with torch.no_grad():
            outputs = objective.outputs(params, batch)
            outcomes.append(-subject.measure(outputs, batch["labels"]).double())
        halves.append(half)
    return halves, torch.stack(outcomes)


if __name__ == "__main__":
    main()
