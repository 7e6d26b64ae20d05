"""Speed on the built-in example against the published method.

`python -m benchmarks.speed` alternates both sides on one machine with the same cores, weights and
attributed parameters, each round in a separate process. The published method is too slow to run to
completion: whole s_tests of J = 1000 steps and a sample of candidate scores are timed, and the
total is extrapolated. It writes benchmarks/results/speed.json and docs/results/speed.md; with
--quick it prints the page and writes nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.example import FULL, QUICK, STUDY, Sizes
from benchmarks.page import ROOT, publish, render_pages
from benchmarks.summary import summarise


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    sizes = QUICK if options.quick else FULL
    from benchmarks.machine import describe
    from benchmarks.report import build_pages
    from tasks.run.spec import plan_run

    plan, machine = plan_run(options.study), describe()
    with tempfile.TemporaryDirectory() as folder:
        raw = measure(options.study.resolve(), sizes, Path(folder))
    if plan_run(options.study).record.fingerprint != plan.record.fingerprint:
        print("The study, its tables or its model changed during the run; nothing is written.")
        return 2
    result = {
        "machine": machine,
        "problem": problem(plan),
        "sizes": asdict(sizes),
        **summarise(raw, plan.record.train_rows, plan.record.query_rows),
        "raw": raw,
    }
    if options.quick:
        print(render_pages(build_pages(result)))
        return 0
    publish("speed", result, build_pages(result))
    print(render_pages(build_pages(result)))
    return 0


def problem(plan) -> dict:
    """Return the parts of the study that determine the amount of work."""
    parts = plan.record.parts
    return {
        "study": plan.record.study,
        "train_rows": plan.record.train_rows,
        "query_rows": plan.record.query_rows,
        **{key: parts[key] for key in ("model", "max_length", "attributed", "curvature", "solver")},
    }


def measure(study: Path, sizes: Sizes, folder: Path) -> dict:
    """Return all raw numbers: both sides alternating, then the agreement and the lower bound."""
    raw: dict = {"published": [], "ours": []}
    for turn in range(sizes.rounds):
        for side in ("published", "ours"):
            raw[side].append(_run(side, study, sizes, turn, folder))
    for side in ("agreement", "floor"):
        raw[side] = _run(side, study, sizes, 0, folder)
    return raw


def _run(side: str, study: Path, sizes: Sizes, turn: int, folder: Path) -> dict:
    print(f"{side}, round {turn + 1}", file=sys.stderr, flush=True)
    record = json.dumps(asdict(sizes))
    command = [sys.executable, "-m", "benchmarks.sides", side, str(study), record]
    subprocess.run([*command, str(turn), str(folder)], cwd=ROOT, check=True, env=_environment())
    turn_result = json.loads((folder / f"{side}-{turn}.json").read_text())
    return {**turn_result, "load": round(os.getloadavg()[0], 2)}


def _environment() -> dict[str, str]:
    """Return the environment of the flows: waiting threads sleep, no network."""
    settings = {"GOMP_SPINCOUNT": "10000", "TOKENIZERS_PARALLELISM": "false"}
    return {**settings, **os.environ, "HF_HUB_OFFLINE": "1"}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes nothing")
    parser.add_argument("--study", type=Path, default=STUDY, help="a study with a trained model")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
