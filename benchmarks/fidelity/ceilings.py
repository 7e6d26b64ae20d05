"""Ceilings of workloads whose methods were measured before the second set of seeds was complete."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fidelity.report import build_pages
from benchmarks.fidelity.truth import describe_truth, read_truth
from benchmarks.fidelity.workloads import WORKLOADS
from benchmarks.page import publish, read_result


def main(arguments: Sequence[str]) -> int:
    """Write the ceiling of every workload with all its seeds; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity ceilings", description=__doc__
    )
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.work"))
    options = parser.parse_args(arguments)
    known = add_ceilings(
        read_result("fidelity"), Path(os.environ.get("FASTIF_DATA", "")), options.work / "truth"
    )
    publish("fidelity", known, build_pages(known))
    return 0


def add_ceilings(known: dict, data: Path, truths: Path) -> dict:
    """Return a result with the ceilings of its workloads that have all seeds in both sets.

    The LDS of their methods stays that against the first set alone, whose mean is the same.
    """
    for name, measured in known.get("workloads", {}).items():
        workload = WORKLOADS[name](data)
        truth = read_truth(workload.halves, truths / workload.key, workload.seeds)
        complete = len(truth.sets) == 2 and truth.seeds == measured["seeds"] == workload.seeds
        if complete and not measured["ceiling"]:
            measured["ceiling"] = describe_truth(workload, truth)["ceiling"]
            print(f"{name}: {measured['ceiling']['value']:.3f}")
    return known
