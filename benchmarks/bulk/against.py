"""Time of a full scan against the published method and other packages.

`python -m benchmarks.bulk.against` attributes equal queries of one model with equal threads, each
side in a separate process; sides that run in each round alternate. It needs the extra bench-peers
and FASTIF_DATA, and writes benchmarks/results/bulk-against.json and docs/results/full-scan.md; with
--quick it prints the page and writes nothing. Finished rounds are kept under benchmarks/.work, so
that an interrupted run resumes. --anew deletes them, for the named sides or for all; --finished
runs nothing and reports the finished rounds.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.bulk.against_report import build_pages
from benchmarks.bulk.agreement import agreement
from benchmarks.bulk.ratios import summarise
from benchmarks.bulk.sides.registry import SIDES
from benchmarks.bulk.sides.sizes import FULL, QUICK, Sizes
from benchmarks.machine import describe
from benchmarks.page import ROOT, publish, render_pages


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if not (Path(os.environ.get("FASTIF_DATA", "")) / "sst2").is_dir():
        print("FASTIF_DATA must name the folder with sst2/")
        return 2
    sizes = QUICK if options.quick else FULL
    folder = ROOT / "benchmarks" / ".work" / f"against-{sizes.rows}-{sizes.queries}"
    if options.anew is not None:
        forget(folder, options.anew or list(SIDES))
    result = {
        "sizes": asdict(sizes),
        **measure(sizes, folder, options.finished),
        "machine": describe(),
    }
    if not options.quick:
        publish("bulk-against", result, build_pages(result))
    print(render_pages(build_pages(result)))
    return 0


def measure(sizes: Sizes, folder: Path, finished: bool = False) -> dict:
    """Run all sides and compare their scores.

    Args:
        sizes: Sizes of the measurement.
        folder: Folder of finished rounds.
        finished: Whether to run nothing and leave out missing rounds.
    """
    if not finished:
        _run("prepare", sizes, 0, folder)
    raw: dict[str, list[dict]] = {name: [] for name in SIDES}
    for turn in range(sizes.rounds):
        for name, side in SIDES.items():
            there = (folder / f"{name}-{turn}.json").is_file()
            if there or (not finished and (turn == 0 or side.every_round)):
                raw[name].append(_turn(name, sizes, turn, folder))
    done = (folder / "residuals-0.json").is_file()
    return {
        **summarise(raw, sizes),
        "missing": [name for name, turns in raw.items() if not turns],
        "residuals": {} if finished and not done else _turn("residuals", sizes, 0, folder),
        "agreement": agreement(folder),
        "versions": {side.package: side.version for side in SIDES.values()},
        "raw": raw,
    }


def forget(folder: Path, names: list[str]) -> None:
    """Delete the finished rounds of these sides, and the measurements made from them."""
    for name in [*names, "residuals"]:
        for path in folder.glob(f"{name}-[0-9]*"):
            path.unlink()


def _turn(name: str, sizes: Sizes, turn: int, folder: Path) -> dict:
    """Return the timing of a side in one round; it runs unless the round is finished."""
    path = folder / f"{name}-{turn}.json"
    if name in SIDES and SIDES[name].version is None:
        return {"failure": f"{SIDES[name].package} is not installed: the extra bench-peers"}
    if not path.is_file():
        _run(name, sizes, turn, folder)
    return json.loads(path.read_text())


def _run(name: str, sizes: Sizes, turn: int, folder: Path) -> None:
    print(f"{name}, round {turn + 1}", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.bulk.sides", name, str(folder)]
    rest = [json.dumps(asdict(sizes)), str(turn), str(folder / f"{name}-{turn}")]
    environment = _environment(sizes.threads)
    done = subprocess.run([*command, *rest], cwd=ROOT, env=environment, check=False)
    if done.returncode == 0:
        return
    if name not in SIDES or SIDES[name].package == "fastif":
        done.check_returncode()
    failure = {"failure": f"ended with code {done.returncode}"}
    (folder / f"{name}-{turn}.json").write_text(json.dumps(failure))


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of the flows: waiting threads sleep, no network."""
    settings = {"GOMP_SPINCOUNT": "10000", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    count = str(threads)
    return {**settings, **os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": count}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bulk.against")
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes nothing")
    parser.add_argument(
        "--finished", action="store_true", help="run nothing; report finished rounds"
    )
    parser.add_argument(
        "--anew", nargs="*", choices=list(SIDES), help="sides to measure again; default all"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
