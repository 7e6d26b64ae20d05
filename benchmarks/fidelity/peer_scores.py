"""Scores of other packages on a workload, and their difference to the exact solve."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

import fastif
from benchmarks.fidelity.methods import make_slug
from benchmarks.fidelity.workload import Workload
from benchmarks.peers.plain import Mlp, Tail, make_plain, save_plain
from benchmarks.peers.registry import PEERS
from benchmarks.peers.run import run_peer

CORE_SECONDS = 840
"""Limit of a peer: seven minutes on two cores, twice the time on one."""
ScoreQueries = Callable[[Tensor], Float[Tensor, " q"]]
"""Function from effects to the LDS of each query."""


def measure_peers(
    workload: Workload,
    objective: fastif.Objective,
    folder: Path,
    run_new: bool,
    score: Callable[[Tensor], dict],
) -> dict:
    """Run each peer in a separate process and return its scores and cost.

    Args:
        workload: Workload of the benchmark.
        objective: First model of the workload.
        folder: Cache of finished peers.
        run_new: Whether to run peers without a cached result; otherwise they are left out.
        score: Function from effects to LDS numbers for JSON.
    """
    saved = folder / "plain"
    if not (saved / "plain.json").is_file():
        model = (Mlp if isinstance(objective, fastif.ModuleObjective) else Tail).of(objective)
        save_plain(make_plain(model, workload.train, workload.query_examples), saved)
    results = {}
    for name in PEERS:
        path = folder / f"peer-{make_slug(name)}.json"
        if not path.is_file() and not run_new:
            continue  # finished peers are shown all the same
        if not path.is_file():
            cores = min(2, len(os.sched_getaffinity(0)))
            limit = CORE_SECONDS / cores
            outcome = run_peer(name, saved, folder / "peers", limit_seconds=limit)
            path.write_text(json.dumps(asdict(outcome), default=str))
        results[name] = json.loads(path.read_text())
        if results[name]["path"]:
            scores = Path(results[name].pop("path"))
            results[name] |= score(load_file(scores)["scores"]) | {"scores": scores.name}
        print(f"{name}: {results[name].get('lds') or results[name]['failure']}", flush=True)
    return results


def compare_with_peers(results: dict, folder: Path, score: ScoreQueries) -> dict:
    """Return the LDS of the exact solve minus that of each peer, with its 95 % interval."""
    exact_scores = score(load_file(folder / results["methods"]["exact"]["scores"])["effect"])
    differences = {}
    for name, peer in results["peers"].items():
        if "lds" not in peer:
            continue
        difference = exact_scores - score(load_file(folder / "peers" / peer["scores"])["scores"])
        half_width = 1.96 * float(difference.std() / len(difference) ** 0.5)
        differences[name] = {"more": float(difference.mean()), "half_width": half_width}
    return differences
