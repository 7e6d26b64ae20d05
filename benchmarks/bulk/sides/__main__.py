"""Run one side for one round in a separate process, so that its peak memory is measured alone.

    python -m benchmarks.bulk.sides NAME FOLDER SIZES TURN OUT

It writes OUT.json and, if the side returns tensors, OUT.safetensors; SIZES is the JSON of a
`Sizes` record, and NAME is a side, "prepare" or "residuals".
"""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem, prepare
from benchmarks.bulk.sides.registry import SIDES
from benchmarks.bulk.sides.residuals import residuals
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.example import peak_megabytes


def measure_side(name: str, problem: Problem, sizes: Sizes, turn: int, out: Path) -> dict:
    """Run a side and return its report; its package is imported before the timing starts."""
    work, loaded, clock = SIDES[name].function, peak_megabytes(), Clock()
    load = os.getloadavg()[0]
    torch.manual_seed(turn)
    side_result = work(problem, sizes, turn, clock)
    if side_result.tensors:
        save_file(side_result.tensors, f"{out}.safetensors")
    return {
        "parts": clock.parts,
        "facts": side_result.facts,
        "loaded_mb": loaded,
        "peak_mb": peak_megabytes(),
        "load": [load, os.getloadavg()[0]],
    }


def attempt(name: str, problem: Problem, sizes: Sizes, turn: int, out: Path) -> dict:
    """Run a side; an exception of another package becomes its report."""
    try:
        return measure_side(name, problem, sizes, turn, out)
    except Exception as error:
        if SIDES[name].package == "fastif":
            raise
        return {"failure": f"{type(error).__name__}: {error}"}


def main(arguments: list[str]) -> None:
    name, folder, record, turn, out = arguments
    sizes = Sizes(**json.loads(record))
    torch.set_num_threads(sizes.threads)
    problem = Problem(Path(folder), sizes.rows, sizes.queries)
    if name == "prepare":
        prepare(problem)
        return
    if name == "residuals":
        outcome = residuals(problem, sizes, Path(out).parent)
    else:
        outcome = attempt(name, problem, sizes, int(turn), Path(out))
    Path(f"{out}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1:])
