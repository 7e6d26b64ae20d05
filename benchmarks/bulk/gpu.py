"""Full scan and sketches of 1,000 queries against 393,000 rows on one GPU.

`python -m benchmarks.bulk.gpu --scale full` needs a CUDA GPU with some 100 GB of memory, and torch,
transformers, numpy, scipy, faiss and jaxtyping, without the orchestration. It writes
benchmarks/results/bulk-gpu.json and docs/results/gpu.md. `--scale smoke` runs in seconds anywhere,
and writes nothing.

The model is BERT-base with random weights; its last two layers, pooler and classifier are
attributed (p = 14.77 million). `gpu_workload` generates the texts.

**Full scan.** EK-FAC of a sample of rows is fitted once. It divides the gradients of all q queries
by its eigenvalues, a closed form: s_test, [q p], kept in bfloat16 (29.5 GB). Then each training row
is read once. A tile of b rows runs through the model (TF32), its gradients are written in bfloat16
as [b p], and they are multiplied with all of s_test. The products are 2 n q p = 1.2e16 operations,
the passes through the model a third of that. A tile reads all of s_test, so the arithmetic
intensity is b q / (b + q) operations a byte. At b = 512 that is 340, above the 206 at which an H200
is no longer bound by its memory; the tile takes 15 GB.

**Why gradients are materialized.** The gradient of a linear layer is Σ_t δ_t a_tᵀ, the score
Σ_t δ_tᵀ S a_t, with S [o i] the part of s_test in the layer. Without the gradient that is T q o i
products for T tokens, with it (T + q) o i: at T = 39 and q = 1,000 it is 37 times fewer, and for a
single token as many. If all S had rank r, S = U Vᵀ, then Σ_t (δ_tᵀ U)(Vᵀ a_t) would take
T q r (o + i), less than q o i only for r < o i / (T (o + i)): 9 in a 768 x 768 layer, 15 in a
768 x 3072 one. The rank of an s_test is not so low, so gradients are materialized.

**TF32.** The checks of the gradients have a tolerance of 1e-3, so they run in full single precision
before; only the later stages use tensor cores. The effect of low precision is measured on a sample
of rows.
"""

import argparse
import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import numpy
import torch
import transformers

from benchmarks.bulk.gpu_floors import Floor, Peaks, scan_floor, sketch_floor
from benchmarks.bulk.gpu_report import GOAL_SECONDS, PAPER_SECONDS, build_pages
from benchmarks.bulk.gpu_stages import Stages, agreement, full_scan, search_sketches
from benchmarks.bulk.gpu_workload import SCALES, Work
from benchmarks.page import publish


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bulk.gpu")
    parser.add_argument("--scale", choices=list(SCALES), required=True)
    scale = parser.parse_args().scale
    gpu = torch.cuda.is_available()
    if scale == "full" and not gpu:
        sys.exit("--scale full needs a CUDA GPU; --scale smoke runs anywhere")
    result = measure_gpu(Work.of(SCALES[scale], torch.device("cuda:0" if gpu else "cpu")))
    print(table(result))
    if scale == "full":
        publish("bulk-gpu", result, build_pages(result))


def measure_gpu(work: Work) -> dict:
    """Run all stages and return the result."""
    peaks = Peaks.of(work.device)  # also warms the device up
    scanned = full_scan(work)
    rounding = agreement(work, scanned)
    residual, scan = float(scanned.residual.median()), scanned.stages
    del scanned  # 30 GB
    sketched = search_sketches(work)
    least = sketch_floor(work, peaks, sketched.sketcher.dimensions)
    return {
        "machine": machine(work.device),
        "scale": asdict(work.scale),
        "parameters": work.objective.space.size,
        "tokens": int(work.train.lengths.sum()),
        "peaks": asdict(peaks),
        "residual": residual,
        "rounding": rounding,
        "narrowed": sketched.narrowed,
        "full scan": summarize_stages(work, scan, "scan", scan_floor(work, peaks)),
        "sketches": summarize_stages(work, sketched.stages, "sketches", least),
    }


def summarize_stages(work: Work, stages: Stages, sweep: str, floor: Floor) -> dict:
    """Return the times of a method, with lower bounds and tokens of its sweep over the rows."""
    total, seconds = sum(stages.seconds.values()), stages.seconds[sweep]
    return {
        "stages": stages.seconds,
        "seconds": total,
        "seconds a query": total / work.scale.queries,
        "sweep": seconds,
        "tokens a second": float(work.train.lengths.sum()) / seconds,
        "floors": asdict(floor),
        "times the arithmetic": seconds / floor.arithmetic,
        "times the bytes": seconds / floor.bytes,
        "peak_gb": max(stages.gigabytes.values()),
    }


def table(result: dict) -> str:
    """Return the result as a Markdown table."""
    ways = ("full scan", "sketches")
    lines = [
        f"{result['machine']['device']}, torch {result['machine']['torch']}: "
        f"{result['scale']['rows']:,} rows of {result['tokens']:,} tokens in all, "
        f"{result['scale']['queries']:,} queries, {result['parameters']:,} parameters",
        "",
        f"| | {' | '.join(ways)} |",
        "| --- | --- | --- |",
    ]
    rows = {
        "total, s": lambda way: f"{way['seconds']:.2f}",
        "a query, s": lambda way: f"{way['seconds a query']:.4f}",
        "sweep over the rows, s": lambda way: f"{way['sweep']:.2f}",
        "tokens a second": lambda way: f"{way['tokens a second']:,.0f}",
        "lower bound by arithmetic, s": lambda way: f"{way['floors']['arithmetic']:.3g}",
        "ratio to it": lambda way: f"{way['times the arithmetic']:.3g}",
        "lower bound by bytes, s": lambda way: f"{way['floors']['bytes']:.3g}",
        "ratio to that": lambda way: f"{way['times the bytes']:.3g}",
        "peak memory, GB": lambda way: f"{way['peak_gb']:.1f}",
    }
    for name, cell in rows.items():
        lines.append(f"| {name} | {' | '.join(cell(result[way]) for way in ways)} |")
    stages = (f"{name} {took:.2f}" for way in ways for name, took in result[way]["stages"].items())
    return "\n".join([*lines, "", f"Stages, s: {', '.join(stages)}.", *_verdict(result)])


def _verdict(result: dict) -> list[str]:
    rounding = result["rounding"]
    lines = [
        f"Peaks are {result['peaks']['source']}. Median residual of EK-FAC on the sampled "
        f"matrix: {result['residual']:.2g}. Low precision: rank correlation with single precision "
        f"{rounding['spearman']:.5f}, at least {rounding['least']:.5f} a query."
    ]
    if result["scale"] == asdict(SCALES["full"]):
        way = result["full scan"]
        reached = "reached" if way["seconds"] < GOAL_SECONDS else "not reached"
        faster = PAPER_SECONDS / way["seconds a query"]
        lines.append(
            f"Goal of {GOAL_SECONDS:.0f} s for a full scan: {reached}. A query takes {faster:,.0f} "
            f"times less than the paper's {PAPER_SECONDS} s on four V100, which scan 1,000 rows."
        )
    return lines


def machine(device: torch.device) -> dict:
    """Return hardware and versions, without the packages of the orchestration."""
    gpu = device.type == "cuda"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if gpu else platform.machine(),
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
    }


if __name__ == "__main__":
    main()
