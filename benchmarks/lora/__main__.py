"""`python -m benchmarks.lora` measures influence on a LoRA adapter against retraining.

The margins of each retrained model are a file of its own, so that the benchmark can be stopped and
continued. FASTIF_DATA names the folder with sst2.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from benchmarks import machine
from benchmarks.fidelity.workload import Subset, margins
from benchmarks.lora.datainf import SHARE, compute_datainf
from benchmarks.lora.intervals import Halves, bootstrap_scores
from benchmarks.lora.report import build_pages
from benchmarks.lora.workload import LoraSst2
from benchmarks.page import PAGES, RESULTS, write_pages
from fastif.evaluation.select_damping import sample_halves
from fastif.gradients.per_example import compute_loss_gradients

WORK = Path("benchmarks/.work/lora")
SEED, CHOICE_HALVES = 1000, 6
"""Seed of the retrained models, and number of further halves that choose the dampings."""
DAMPINGS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
SHARES = (0.01, 0.1, 1.0, 10.0, 100.0)


def main() -> None:
    """Measure, and write the result and its page."""
    if "FASTIF_DATA" not in os.environ:
        sys.exit("FASTIF_DATA must name the folder with sst2")
    workload = LoraSst2(Path(os.environ["FASTIF_DATA"]))
    start = time.process_time()
    truth = Halves(workload.halves, _retrain(workload, workload.halves, "truth"))
    chosen = sample_halves(workload.rows, CHOICE_HALVES, seed=7)
    choice = Halves(chosen, _retrain(workload, chosen, "choice"))
    retraining = time.process_time() - start
    result = measure(workload, truth, choice)
    result["retraining_cpu_seconds"] = retraining
    (RESULTS / "lora.json").write_text(json.dumps(result, indent=1) + "\n")
    write_pages(PAGES, build_pages(result))


def measure(workload: LoraSst2, truth: Halves, choice: Halves) -> dict:
    """Return the LDS of all methods, with the facts of the model."""
    objective = workload.train_model(0)
    examples = {"truth": workload.query_examples, "choice": workload.tuning_examples}
    gradients = fastif.Gradients(objective)
    train = compute_loss_gradients(gradients, workload.train)
    queries = {name: compute_loss_gradients(gradients, rows) for name, rows in examples.items()}
    layers = objective.space.slices
    influence = {
        damping: {
            name: _influence(objective, workload, damping, rows) for name, rows in examples.items()
        }
        for damping in DAMPINGS
    }
    datainf = {
        share: {name: compute_datainf(g, train, layers, share) for name, g in queries.items()}
        for share in SHARES
    }
    damping = max(DAMPINGS, key=lambda d: choice.score_mean(influence[d]["choice"]))
    share = max(SHARES, key=lambda s: choice.score_mean(datainf[s]["choice"]))
    effects = {
        f"influence, damping {damping:g} chosen by {CHOICE_HALVES} retrainings": influence[damping],
        f"DataInf, damping share {share:g} chosen by the same": datainf[share],
        f"DataInf, damping share {SHARE:g} of its paper": datainf[SHARE],
        "gradient product": {name: g @ train.T for name, g in queries.items()},
        "gradient cosine": {name: _cosine(g, train) for name, g in queries.items()},
    }
    scores = bootstrap_scores(truth, {name: e["truth"] for name, e in effects.items()})
    accuracy = {
        name: _accuracy(objective, workload, rows)
        for name, rows in {"train": workload.train, **examples}.items()
    }
    return {
        "recipe": workload.recipe_words,
        "rows": workload.rows,
        "queries": workload.queries,
        "halves": len(truth.halves),
        "choice_halves": len(choice.halves),
        "parameters": objective.space.size,
        "frozen_layers": objective.num_frozen_layers,
        "hooks": gradients.per_example_backward is False,
        "accuracy": accuracy,
        "methods": scores,
        "grid": {
            "influence": {f"{d:g}": truth.score_mean(e["truth"]) for d, e in influence.items()},
            "DataInf": {f"{s:g}": truth.score_mean(e["truth"]) for s, e in datainf.items()},
        },
        "machine": machine.describe(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def _retrain(workload: LoraSst2, halves: list[Subset], name: str) -> Tensor:
    """Return the margins [m q] of the models of all halves; those that are saved are read."""
    is_truth = name == "truth"
    examples = workload.query_examples if is_truth else workload.tuning_examples
    rows = []
    for number, half in enumerate(halves):
        path = WORK / workload.key / f"{name}-{number}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            model = workload.fit(half, SEED)
            made = margins(fastif.predict(model, examples)[0], workload.answers(examples))
            save_file({"margins": made}, path)
            print(f"{name} {number + 1} of {len(halves)}", flush=True)
        rows.append(load_file(path)["margins"])
    return torch.stack(rows)


def _influence(
    objective: fastif.TransformerObjective,
    workload: LoraSst2,
    damping: float,
    queries: fastif.Examples,
) -> Tensor:
    operator = fastif.GaussNewton(objective, workload.train).with_damping(damping)
    attribute = fastif.Attributor(
        objective, workload.train, operator, fastif.Dual(), fastif.ExhaustiveSearch()
    )
    answer = attribute(queries).influences
    effects = torch.zeros(len(queries), workload.rows, dtype=torch.float64)
    return effects.scatter_(1, answer.ids, answer.removal_effect.double())


def _cosine(queries: Tensor, train: Tensor) -> Tensor:
    return torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(train).T


def _accuracy(
    objective: fastif.TransformerObjective, workload: LoraSst2, rows: fastif.Examples
) -> float:
    predicted = fastif.predict(objective, rows)[0].argmax(1)
    return float((predicted == workload.answers(rows)).float().mean())


if __name__ == "__main__":
    main()
