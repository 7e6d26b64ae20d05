"""Pairs a second of fastif and kronfluence on one device, at equal precision and time limit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file

from benchmarks.bulk.gpu_peer import PRECISIONS
from benchmarks.bulk.gpu_workload import SCALES
from benchmarks.page import ROOT
from benchmarks.peers.package import find_version
from fastif.numerics.correlation import spearman

OURS, PEER = "fastif", "kronfluence"


def measure_pairs(scale: str) -> dict:
    """Run both sides in each precision, and return their seconds, rates and agreement."""
    sizes = SCALES[scale]
    result: dict = {
        "version": find_version(PEER),
        "rows": sizes.peer_rows,
        "queries": sizes.peer_queries,
        "limit": sizes.peer_seconds,
    }
    with TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            sides = {side: _run(side, precision, scale, Path(folder)) for side in (OURS, PEER)}
            result[precision] = {**sides, "agreement": _compare(sides, precision, Path(folder))}
    return result


def _run(side: str, precision: str, scale: str, folder: Path) -> dict:
    """Return the seconds and the pairs a second of a side, or why it has none."""
    sizes, out = SCALES[scale], _name(side, precision, folder)
    if find_version(side) is None and side == PEER:
        return {"failure": "not installed: the extra bench-peers"}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.bulk.gpu_peer"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    print(f"{side}, {precision}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            [*command, side, precision, scale, str(out)],
            cwd=ROOT, env=environment, timeout=sizes.peer_seconds, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failure": f"not finished after {sizes.peer_seconds:.0f} s"}
    if done.returncode:
        if side == OURS:
            raise RuntimeError(done.stderr)
        lines = done.stderr.strip().splitlines()
        return {"failure": lines[-1][:200] if lines else f"ended with code {done.returncode}"}
    seconds = json.loads(Path(f"{out}.json").read_text())
    pairs = sizes.peer_rows * sizes.peer_queries
    return {"seconds": seconds, "pairs a second": pairs / seconds["scores"]}


def _compare(sides: dict, precision: str, folder: Path) -> float | None:
    """Return the median rank correlation of the scores of both sides; None without both."""
    if any("failure" in side for side in sides.values()):
        return None
    ours, peer = (
        load_file(f"{_name(side, precision, folder)}.safetensors")["scores"] for side in sides
    )
    return float(torch.median(spearman(ours, peer)))


def _name(side: str, precision: str, folder: Path) -> Path:
    return folder / f"{side}-{precision.replace(' ', '-')}"
