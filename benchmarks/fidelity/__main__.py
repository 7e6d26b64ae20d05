"""Agreement of effects with retraining (LDS), here and with other packages.

`python -m benchmarks.fidelity publish FOLDER` writes the truth of all workloads for others, and
`python -m benchmarks.fidelity score FILE --workload NAME` scores a matrix of effects on it;
`python -m benchmarks.fidelity ceilings` writes the ceilings of finished truths into the pages.

`python -m benchmarks.fidelity` reads the data sets under FASTIF_DATA, trains the explained models,
retrains them on random halves, and writes benchmarks/results/fidelity.json and its pages of
docs/results. Finished parts are kept under benchmarks/.work and reused; retrainings of the
published truth in benchmarks/truth are not repeated.
"""

import argparse
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.fidelity.ceilings import main as write_ceilings
from benchmarks.fidelity.convex import convex
from benchmarks.fidelity.cost import SMALL, cost
from benchmarks.fidelity.judge import FidelityEvaluation
from benchmarks.fidelity.publish import main as publish_truth
from benchmarks.fidelity.published import PUBLISHED, restore_seeds
from benchmarks.fidelity.report import build_pages
from benchmarks.fidelity.score import main as score_effects
from benchmarks.fidelity.texts import Sst2
from benchmarks.fidelity.through_training import ThroughTraining
from benchmarks.fidelity.workloads import WORKLOADS
from benchmarks.machine import describe
from benchmarks.page import publish, read_result

PARTS = {"convex": convex, "cost": cost, "cost-small": partial(cost, sizes=SMALL)}
THROUGH = "through-training"
COMMANDS = {"publish": publish_truth, "score": score_effects, "ceilings": write_ceilings}


def main() -> None:
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.exit(COMMANDS[sys.argv[1]](sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.fidelity")
    parser.add_argument("parts", nargs="*", default=[], help="mnist-mlp, convex, cost, ...")
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.work"))
    parser.add_argument("--no-peers", action="store_true", help="fastif and the baselines only")
    parser.add_argument("--one-model", action="store_true", help="no means over five trainings")
    parser.add_argument("--seeds", type=int, help="of each set; the default is the workload's own")
    arguments = parser.parse_args()
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "mnist").is_dir():
        sys.exit("FASTIF_DATA must name the folder with mnist, sst2, noisy_ag_news and multinli")
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    known = read_result("fidelity")
    wanted = set(arguments.parts)
    for name, make in WORKLOADS.items():
        workload = make(data)
        if arguments.seeds:
            workload = replace(workload, seeds=arguments.seeds)
        if not wanted or name in wanted:
            restored = restore_seeds(workload, PUBLISHED, arguments.work / "truth")
            print(f"{name}: {restored} seeds of the published truth", flush=True)
            evaluation = FidelityEvaluation(
                workload,
                arguments.work / workload.key,
                with_peers=not arguments.no_peers,
                several_models=not arguments.one_model,
            )
            measured = evaluation.result() | {"machine": describe()}
            known.setdefault("workloads", {})[name] = measured
            publish("fidelity", known, build_pages(known))
    parts = {**PARTS, THROUGH: partial(_measure_through_training, work=arguments.work)}
    for name, measure in parts.items():
        if not wanted or name in wanted:
            known[name] = measure(data) | {"machine": describe()}
            publish("fidelity", known, build_pages(known))


def _measure_through_training(data: Path, work: Path) -> dict:
    workload = Sst2(data)
    return ThroughTraining(workload, work / f"{THROUGH}-{workload.key}").result()


main()
