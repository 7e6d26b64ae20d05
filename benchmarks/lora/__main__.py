"""`python -m benchmarks.lora` measures influence on a LoRA adapter against retraining.

The losses of each retrained model are a file of its own, so that the benchmark can be stopped and
continued. FASTIF_DATA names the folder with sst2.
"""

import os
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import fastif
from benchmarks import machine
from benchmarks.fidelity.truth import measure_ceiling
from benchmarks.lora.datainf import SHARE, compute_datainf
from benchmarks.lora.report import NAME, build_pages
from benchmarks.lora.workload import ALPHA, LAYERS, RANK, TARGETS, LoraSst2
from benchmarks.page import publish
from benchmarks.retraining import CACHE_BYTES, GRID, Plan, keep_losses, measure_halves
from fastif.models.parameters import Params
from fastif.models.prefix_cache import PrefixCache

WORK = Path("benchmarks/.work/lora")
RECIPE = fastif.TrainingConfig(epochs=5, learning_rate=3e-3, weight_decay=0.0, batch_size=16)
DAMPINGS = (10.0, 1.0, 0.1, 0.01)
SHARES = (0.01, 1.0, 10.0)
HALVES, FRESH_HALVES = 28, 6
CHECKPOINT = 0.25


def main() -> None:
    """Measure, and write the result and its page."""
    if "FASTIF_DATA" not in os.environ:
        sys.exit("FASTIF_DATA must name the folder with sst2")
    workload = LoraSst2(Path(os.environ["FASTIF_DATA"]))
    objective = workload.start(0)
    folder = WORK / f"{workload.rows}-{RECIPE.epochs}-{RECIPE.learning_rate:g}-{len(LAYERS)}"
    names = {f"DataInf{GRID}{share:g}": share for share in SHARES}
    names["DataInf by the rule of its paper"] = SHARE
    plan = Plan(
        RECIPE,
        halves=HALVES,
        choice_halves=0,
        seeds=2,
        dampings=DAMPINGS,
        rivals={name: partial(_rank_by_datainf, share) for name, share in names.items()},
        checkpoint=CHECKPOINT,
        has_rule=True,
        folder=folder,
    )
    train, queries = workload.tokens(0), workload.tokens(1)
    entry = measure_halves(objective, train, queries, plan)
    print(entry, flush=True)
    result = {
        "model": entry | {"frozen_layers": objective.num_frozen_layers},
        "recipe": asdict(RECIPE),
        "adapter": {"rank": RANK, "alpha": ALPHA, "targets": TARGETS, "layers": LAYERS},
        "facts": {
            "rows": workload.rows,
            "queries": workload.queries,
            "checkpoint": CHECKPOINT,
        },
        "machine": machine.describe(),
    }
    publish(NAME, result, build_pages(result))  # a stopped run keeps what it has measured
    result["fresh"] = measure_fresh_starts(workload, folder / "fresh")
    publish(NAME, result, build_pages(result))


def measure_fresh_starts(workload: LoraSst2, folder: Path) -> dict:
    """Return the agreement of retrainings whose seeds draw adapter and head too, not only orders.

    Each half is trained from the initial values of two seeds.
    """
    objective = workload.start(0)
    train, queries = (PrefixCache(objective, workload.tokens(i), CACHE_BYTES) for i in (0, 1))
    losses: list[list[Tensor]] = []
    for seed in (1000, 2000):
        initial = workload.start(seed).params

        def retrain(half: Tensor, seed: int = seed, initial: Params = initial) -> Tensor:
            objective.params = initial
            recipe = replace(RECIPE, seed=seed)
            objective.params = fastif.fit(objective, train.subset(half), recipe)
            return fastif.predict(objective, queries)[1]

        halves = workload.halves[:FRESH_HALVES]
        names = (f"{seed}-{number}" for number in range(FRESH_HALVES))
        pairs = zip(names, halves, strict=True)
        losses.append([keep_losses(folder, n, partial(retrain, half)) for n, half in pairs])
    ceiling = measure_ceiling(*(torch.stack(rows) for rows in losses))
    return {"halves": FRESH_HALVES, "agreement": ceiling.agreement, "ceiling": ceiling.value}


def _rank_by_datainf(
    share: float, objective: fastif.Objective, queries: Tensor, train: Tensor
) -> Tensor:
    return compute_datainf(queries, train, objective.space.slices, share)


if __name__ == "__main__":
    main()
