"""GPU benchmark on a host without the packages of the orchestration; its bounds by hand."""

import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import fastif
from benchmarks.bulk import gpu
from benchmarks.bulk.gpu_counts import count_converged, count_ekfac, count_rotations
from benchmarks.bulk.gpu_floors import Peaks, passes, scan_floor, sketch_floor
from benchmarks.bulk.gpu_report import build_pages
from benchmarks.bulk.gpu_solve import sample_curvature, split_queries
from benchmarks.bulk.gpu_stages import DAMPING
from benchmarks.bulk.gpu_workload import FULL, SMALL, SMOKE, Work, texts
from benchmarks.page import RESULTS, read_result

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Output and scores of a process without those packages."""
    target = tmp_path_factory.mktemp("bare") / "found.safetensors"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("bare_host.py")), str(target)]
    before = (RESULTS / "bulk-gpu.json").read_bytes()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert (RESULTS / "bulk-gpu.json").read_bytes() == before, "smoke writes no result"
    return done.stdout, load_file(target)


@pytest.mark.long
def test_it_runs_without_the_orchestration(bare):
    printed, _ = bare
    assert "| | full scan | sketches | converged |" in printed
    for row in ("total, s", "a query, s", "tokens a second", "lower bound by ar", "peak memory"):
        assert f"| {row}" in printed
    assert "Peaks are measured" in printed
    assert "Goals:" not in printed, "they are for the full scale"
    assert "(100% of the queries at 0.1 or less)" in printed
    for precision in ("TF32", "bfloat16"):
        rates = next(line for line in printed.splitlines() if line.startswith(f"| {precision} |"))
        ours, peer, ratio, agreement = (float(cell) for cell in rates.split("|")[2:6])
        assert ours > 0 < peer
        assert ratio == pytest.approx(ours / peer, rel=0.1)
        assert agreement > 0.9, "the two sides score other pairs"


@pytest.mark.long
def test_the_converged_residual_is_that_of_dense_factor_rows(bare):
    parts = {name: tensor.double() for name, tensor in bare[1].items()}
    value, rhs = parts["exact s_test"], parts["query gradients"]

    def measure(factor_rows):
        rows, count = factor_rows.flatten(0, 1), len(factor_rows)
        left = rhs - DAMPING * value - value @ rows.T @ rows / count
        return left.norm(dim=1) / rhs.norm(dim=1)

    sampled = measure(parts["factor rows"][bare[1]["sampled"]])
    rounding = 2**-8  # of s_test in bfloat16
    assert (parts["residual"] <= 0.1).all()
    assert (sampled <= parts["residual"] + rounding).all()
    whole = measure(parts["factor rows"])
    assert whole.median() > 2 * sampled.max(), "the sample is all rows, so nothing is estimated"
    ratio = parts["full residual"].median() / whole.median()
    assert 0.5 < ratio < 2


@pytest.mark.long
def test_the_converged_scan_finds_top_and_bottom_of_its_dense_scores(bare):
    result, dense = bare[1], bare[1]["exact dense"]
    noise = 0.01 * dense.abs().max()
    assert (dense.gather(1, result["exact ids"]) - result["exact effects"]).abs().max() < noise


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


@pytest.mark.parametrize("scale", ["full", "small", "auto"])
def test_a_scale_for_a_gpu_is_refused_without_one(scale, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", "--scale", scale])
    with pytest.raises(SystemExit, match=f"--scale {scale} needs a CUDA GPU; --scale smoke runs"):
        gpu.main()


@pytest.mark.parametrize(
    ("requested", "gigabytes", "chosen"),
    [
        ("auto", 150, "full"),
        ("auto", 24, "small"),
        ("small", 150, "small"),
        ("full", 80, "needs a GPU with 100 GB of memory, and this one has 80 GB"),
        ("auto", 12, "--scale small needs a GPU with 20 GB"),
    ],
)
def test_the_scale_follows_the_memory_of_the_card(requested, gigabytes, chosen, monkeypatch):
    card = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    if chosen in ("full", "small"):
        assert gpu.choose_scale(requested) == chosen
    else:
        with pytest.raises(SystemExit, match=chosen):
            gpu.choose_scale(requested)


@pytest.mark.long
def test_queries_are_split_into_equal_groups():
    for together, sizes in ((None, [7]), (3, [3, 3, 1]), (6, [4, 3])):
        work = Work.of(replace(SMOKE, together=together), CPU)
        operator = sample_curvature(work, 4, 2).with_damping(DAMPING)
        assert [len(ids) for ids in split_queries(work, operator, 6)] == sizes


def test_operations_of_a_solve_follow_from_the_sizes():
    work = Work.of(SMOKE, CPU)
    curvature = sample_curvature(work, SMOKE.curvature_rows, SMOKE.solve_batch)
    p, q, rows = curvature.size, SMOKE.queries, curvature.count * curvature.rows_per_example
    grids = [
        grid.shape
        for grid in (block.eigenvalues for block in fastif.Ekfac.fit(curvature).blocks)
        if grid.dim() == 2
    ]
    # Both rotations and both back, without the column of the bias.
    expected = sum(4 * o * (i - 1) * (o + i - 1) for o, i in grids)
    assert count_rotations(SMOKE) == expected
    rotations, residual = count_ekfac(SMOKE, p)
    assert rotations.operations == q * expected
    assert residual.operations == 4 * q * rows * p
    assert residual.bound_seconds(1e9, 1e3) == pytest.approx(4 * q * rows * p / 1e9)
    gram, *_ = count_converged(SMOKE, p)
    assert gram.operations == (SMOKE.converged_rows * curvature.rows_per_example) ** 2 * p


def test_the_solves_fit_into_their_goals_at_the_peaks_of_an_h200():
    peaks = 494e12, 67e12
    ekfac, exact = (
        sum(step.bound_seconds(*peaks) for step in count(FULL, 14_768_643))
        for count in (count_ekfac, count_converged)
    )
    assert ekfac < 1
    assert 20 < exact < 40


def test_an_older_result_has_a_page_and_a_small_one_is_added_to_it():
    kept = {k: v for k, v in read_result("bulk-gpu").items() if k != "small"}
    sides = {"fastif": {"pairs a second": 900.0}, "kronfluence": {"failure": "no memory"}}
    pairs = {name: {**sides, "agreement": None} for name in ("tensor cores", "bfloat16")}
    residuals = {
        "residual": 0.01, "within goal": 1.0, "full residual": {"median": 0.07, "largest": 0.2},
    }  # fmt: skip
    newer = {
        **kept,
        "scale": asdict(FULL),
        "converged": {**kept["full scan"], **residuals},
        "kronfluence": {"rows": 5, "queries": 4, "limit": 120.0, **pairs},
    }
    newer["small"] = {**newer, "scale": asdict(SMALL)}
    old = {name: kept[name] for name in kept if name not in ("converged", "kronfluence")}
    page = build_pages(old)[0].render()
    assert "| | full scan | sketches |" in page.replace("|  |", "| |")
    assert "small scale" not in page
    page = build_pages(newer)[0].render()
    assert "| full scan | sketches | converged |" in page
    assert "| TF32 | 900 | no memory |  |  |" in page
    assert "100 queries x 20,000 rows" in page
    assert "has median 0.07 and maximum 0.2" in page


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
    floor = scan_floor(work, Peaks(1e9, 1e6, 1e3, "nominal", 1e5))
    assert floor.arithmetic == pytest.approx(passes(work) / 1e6 + 2 * n * q * p / 1e9)
    assert floor.bytes == pytest.approx(2 * (2 * n * p + 5 * q * p) / 1e3)  # five tiles of 16
    folded = sketch_floor(work, Peaks(1e9, 1e6, 1e3, "nominal", 1e5), 20)
    assert folded.arithmetic < passes(work) / 1e6 + 2 * n * 256 * 20 / 1e6
    assert folded.bytes > 4 * 2 * n * 256 / 1e3


def test_sizes_of_the_full_scale():
    assert (FULL.rows, FULL.queries, FULL.model) == (393_000, 1_000, {})
