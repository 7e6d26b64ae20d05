"""`python -m benchmarks.lora` measures influence on a LoRA adapter against retraining.

The margins of each retrained model are a file of its own, so that the benchmark can be stopped and
continued. FASTIF_DATA names the folder with sst2.
"""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from benchmarks import machine
from benchmarks.fidelity.workload import margins
from benchmarks.halves import Halves, bootstrap_scores
from benchmarks.lora.datainf import SHARE, compute_datainf
from benchmarks.lora.report import build_pages
from benchmarks.lora.workload import LoraSst2
from benchmarks.page import PAGES, RESULTS, write_pages
from benchmarks.retraining import compute_cosine, compute_influence
from fastif.evaluation.spectral_damping import select_damping_by_spectrum
from fastif.gradients.per_example import compute_loss_gradients
from fastif.solvers.solver import Factor

WORK = Path("benchmarks/.work/lora")
SEED = 1000
"""Seed of the retrained models; the attributed model has seed 0."""
DAMPINGS = (1e-4, 1e-3, 1e-2, 1e-1)
SHARES = (0.01, 0.1, 1.0, 10.0, 100.0)


def main() -> None:
    """Measure, and write the result and its page."""
    if "FASTIF_DATA" not in os.environ:
        sys.exit("FASTIF_DATA must name the folder with sst2")
    workload = LoraSst2(Path(os.environ["FASTIF_DATA"]))
    result = measure(workload, Halves(workload.halves, _retrain(workload)))
    (RESULTS / "lora.json").write_text(json.dumps(result, indent=1) + "\n")
    write_pages(PAGES, build_pages(result))


def measure(workload: LoraSst2, truth: Halves) -> dict:
    """Return the LDS of all methods, with the facts of the model."""
    objective = workload.train_model(0)
    gradients = fastif.Gradients(objective)
    train = compute_loss_gradients(gradients, workload.train)
    queries = compute_loss_gradients(gradients, workload.query_examples)
    print("gradients", flush=True)
    curvature = fastif.GaussNewton(objective, workload.train)
    rule = select_damping_by_spectrum(curvature).damping
    factor = fastif.Dual().factor(curvature.with_damping(rule))
    influence = {d: _influence(objective, workload, d, factor) for d in sorted({rule, *DAMPINGS})}
    layers = objective.space.slices
    datainf = {share: compute_datainf(queries, train, layers, share) for share in SHARES}
    effects = {
        f"influence, damping {rule:.2g} by rule of thumb": influence[rule],
        f"DataInf, damping by the rule of its paper ({SHARE:g})": datainf[SHARE],
        "gradient product": queries @ train.T,
        "gradient cosine": compute_cosine(queries, train),
    }
    examples = {"training rows": workload.train, "queries": workload.query_examples}
    return {
        "recipe": workload.recipe_words,
        "rows": workload.rows,
        "queries": workload.queries,
        "halves": len(truth.halves),
        "parameters": objective.space.size,
        "frozen_layers": objective.num_frozen_layers,
        "hooks": gradients.per_example_backward is False,
        "accuracy": {name: _accuracy(objective, workload, e) for name, e in examples.items()},
        "methods": bootstrap_scores(truth, effects),
        "grid": {
            "influence": {f"{d:.2g}": truth.score_mean(e) for d, e in influence.items()},
            "DataInf": {f"{s:g}": truth.score_mean(e) for s, e in datainf.items()},
        },
        "machine": machine.describe(),
    }


def _retrain(workload: LoraSst2) -> Tensor:
    """Return the margins [m q] of the models of all halves; those that are saved are read."""
    examples, rows = workload.query_examples, []
    for number, half in enumerate(workload.halves):
        path = WORK / workload.key / f"truth-{number}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            model = workload.fit(half, SEED)
            made = margins(fastif.predict(model, examples)[0], workload.answers(examples))
            save_file({"margins": made}, path)
            print(f"half {number + 1} of {len(workload.halves)}", flush=True)
        rows.append(load_file(path)["margins"])
    return torch.stack(rows)


def _influence(
    objective: fastif.TransformerObjective, workload: LoraSst2, damping: float, factor: Factor
) -> Tensor:
    operator = fastif.GaussNewton(objective, workload.train).with_damping(damping)
    attribute = fastif.Attributor(
        objective, workload.train, operator, fastif.Dual(), fastif.ExhaustiveSearch(), factor
    )
    print(f"damping {damping:.2g}", flush=True)
    return compute_influence(attribute, workload.query_examples)


def _accuracy(
    objective: fastif.TransformerObjective, workload: LoraSst2, rows: fastif.Examples
) -> float:
    predicted = fastif.predict(objective, rows)[0].argmax(1)
    return float((predicted == workload.answers(rows)).float().mean())


if __name__ == "__main__":
    main()
