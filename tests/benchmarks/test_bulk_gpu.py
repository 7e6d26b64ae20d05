"""GPU benchmark on a host without the packages of the orchestration; its bounds by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.bulk import gpu
from benchmarks.bulk.gpu_floors import Peaks, passes, scan_floor, sketch_floor
from benchmarks.bulk.gpu_workload import FULL, SMOKE, Work, texts

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Output and scores of a process without those packages."""
    target = tmp_path_factory.mktemp("bare") / "found.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("bare_host.py")), str(target)]
    before = gpu.RESULT.exists()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert gpu.RESULT.exists() == before, "only the full scale writes a result"
    return done.stdout, load_file(target)


@pytest.mark.long
def test_it_runs_without_the_orchestration(bare):
    printed, _ = bare
    assert "| | full scan | sketches |" in printed
    for row in ("total, s", "a query, s", "tokens a second", "floor by arithmetic", "peak memory"):
        assert f"| {row}" in printed
    assert "Peaks are measured" in printed
    assert "Goal of" not in printed, "that is for the full scale"


@pytest.mark.long
def test_the_scan_finds_top_and_bottom_of_the_dense_scores(bare):
    result, dense = bare[1], bare[1]["dense"]
    assert dense.shape == (SMOKE.queries, SMOKE.rows)
    noise = 0.01 * dense.abs().max()  # of gradients with 8 bits
    assert dense.std() > 10 * noise, "all scores are alike, so nothing is compared"
    ids, effects = result["ids"], result["effects"]
    assert ids.shape == (SMOKE.queries, 2 * SMOKE.keep)
    assert (dense.gather(1, ids) - effects).abs().max() < noise
    ordered = dense.sort(1).values
    ends = torch.cat([ordered[:, : SMOKE.keep], ordered[:, -SMOKE.keep :]], 1)
    assert (ends - effects).abs().max() < noise


@pytest.mark.long
def test_sketches_find_top_and_bottom(bare):
    ids, products = bare[1]["sketch ids"], bare[1]["sketch products"]
    assert ids.shape == (SMOKE.queries, 2 * SMOKE.keep)
    assert (products.diff(dim=1) >= 0).all()
    assert (products[:, 0] < 0).all()
    assert (products[:, -1] > 0).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_the_full_scale_is_refused_without_a_gpu(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu", "--scale", "full"])
    with pytest.raises(SystemExit, match="needs a CUDA GPU"):
        gpu.main()


def test_lengths_are_those_of_multinli():
    lengths = texts(5_000, 100, 0, CPU).lengths.double()
    assert float(lengths.mean()) == pytest.approx(39.2, abs=1)
    assert float(lengths.std()) == pytest.approx(19.2, abs=1)
    assert float(lengths.median()) == pytest.approx(36, abs=1)
    assert (int(lengths.min()), int(lengths.max())) == (6, 128)


def test_lower_bounds_follow_from_the_sizes():
    work = Work.of(SMOKE, CPU)
    n, q, p = SMOKE.rows, SMOKE.queries, work.objective.space.size
    tokens = int(work.train.lengths.sum())
    pairs = int(work.train.lengths.square().sum())
    weights, attention = 2 * (4 * 32 * 32 + 2 * 32 * 48) * tokens, 4 * 32 * pairs
    assert passes(work) == 4 * (weights + attention) + 2 * (weights + 2 * attention) + 2 * weights
    assert passes(work) - passes(work, gradients=False) == 2 * weights
    floor = scan_floor(work, Peaks(1e9, 1e6, 1e3, "nominal"))
    assert floor.arithmetic == pytest.approx(passes(work) / 1e6 + 2 * n * q * p / 1e9)
    assert floor.bytes == pytest.approx(2 * (2 * n * p + 5 * q * p) / 1e3)  # five tiles of 16
    folded = sketch_floor(work, Peaks(1e9, 1e6, 1e3, "nominal"), 20)
    assert folded.arithmetic < passes(work) / 1e6 + 2 * n * 256 * 20 / 1e6
    assert folded.bytes > 4 * 2 * n * 256 / 1e3


def test_sizes_of_the_full_scale():
    assert (FULL.rows, FULL.queries, FULL.model) == (393_000, 1_000, {})
