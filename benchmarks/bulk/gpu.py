"""Full scans and sketches of 1,000 queries against 393,000 rows on one GPU, and kronfluence.

`python -m benchmarks.bulk.gpu` takes the scale that fits the card: "full" for 100 GB or more of
memory, else "small", which is sized for about a minute on a card of 24 GB, besides the runs of
kronfluence. It needs a CUDA GPU and torch, transformers, numpy, scipy, faiss and jaxtyping, without
the orchestration; kronfluence is compared if it is installed. It writes
benchmarks/results/bulk-gpu.json and docs/results/gpu.md, the small scale as a part of them.
`--scale smoke` runs everything on any machine, and writes nothing.

The model is BERT-base with random weights; its last two layers, pooler and classifier are
attributed (p = 14.77 million). `gpu_workload` generates the texts.

**Full scan.** EK-FAC of a sample of rows is fitted once. It divides the gradients of all q queries
by its eigenvalues, a closed form: s_test, [q p], kept in bfloat16 (29.5 GB). Then each training row
is read once. A tile of b rows runs through the model (TF32), its gradients are written in bfloat16
as [b p], and they are multiplied with all of s_test. The products are 2 n q p = 1.2e16 operations,
the passes through the model a third of that. A tile reads all of s_test, so the arithmetic
intensity is b q / (b + q) operations a byte. At b = 512 that is 340, above the 206 at which an H200
is no longer bound by its memory; the tile takes 15 GB.

**Solve.** The gradients of all q queries (59 GB) are overwritten with their residuals, so that one
pass over the factor rows measures all of them; a smaller card takes more groups. `gpu_counts`
counts the operations.

**Converged.** The same scan with the exact inverse of the sampled matrix by `Dual`, which has a
small residual on it. The residual on the matrix of all rows is estimated from two independent
samples.

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
import gc
import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import numpy
import torch
import transformers

from benchmarks.bulk.gpu_counts import count_converged, count_ekfac
from benchmarks.bulk.gpu_floors import Floor, Peaks, scan_floor, sketch_floor
from benchmarks.bulk.gpu_pairs import measure_pairs
from benchmarks.bulk.gpu_report import (
    RESIDUAL_GOAL,
    build_pages,
    format_pairs,
    format_verdict,
    list_ways,
)
from benchmarks.bulk.gpu_stages import (
    ScanResult,
    Stages,
    agreement,
    converged_scan,
    full_scan,
    search_sketches,
)
from benchmarks.bulk.gpu_workload import SCALES, Work
from benchmarks.page import publish, read_result

FULL_BYTES, SMALL_BYTES = 100e9, 20e9
"""Memory of a card from which the full scale, and the small one, are possible."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bulk.gpu")
    parser.add_argument("--scale", choices=["auto", *SCALES], default="auto")
    scale = choose_scale(parser.parse_args().scale)
    gpu = torch.cuda.is_available()
    work = Work.of(SCALES[scale], torch.device("cuda:0" if gpu else "cpu"))
    result = measure_gpu(work, scale)
    print(table(result))
    kept = read_result("bulk-gpu")
    if scale == "full":
        result |= {"small": kept["small"]} if "small" in kept else {}
        publish("bulk-gpu", result, build_pages(result))
    elif scale == "small":
        publish("bulk-gpu", kept | {"small": result}, build_pages(kept | {"small": result}))


def choose_scale(requested: str) -> str:
    """Return the scale; "auto" is the largest that the memory of the GPU holds."""
    if requested == "smoke":
        return requested
    if not torch.cuda.is_available():
        sys.exit(f"--scale {requested} needs a CUDA GPU; --scale smoke runs anywhere")
    memory = torch.cuda.get_device_properties(0).total_memory
    scale = requested if requested != "auto" else "full" if memory >= FULL_BYTES else "small"
    needed = FULL_BYTES if scale == "full" else SMALL_BYTES
    if memory < needed:
        sys.exit(
            f"--scale {scale} needs a GPU with {needed / 1e9:.0f} GB of memory, and this one has "
            f"{memory / 1e9:.0f} GB"
        )
    return scale


def measure_gpu(work: Work, scale: str) -> dict:
    """Run all stages and return the result."""
    peaks = Peaks.of(work.device)  # also warms the device up
    floor = scan_floor(work, peaks)
    scanned = full_scan(work)
    rounding, residual = agreement(work, scanned), float(scanned.solved.residual.median())
    scan = summarize_scan(work, scanned, floor, peaks)
    del scanned  # 30 GB
    free_memory(work)
    exact = converged_scan(work)
    converged = summarize_scan(work, exact, floor, peaks) | summarize_residuals(exact)
    del exact
    free_memory(work)
    sketched = search_sketches(work)
    least = sketch_floor(work, peaks, sketched.sketcher.dimensions)
    result = {
        "machine": machine(work.device),
        "scale": asdict(work.scale),
        "parameters": work.objective.space.size,
        "tokens": int(work.train.lengths.sum()),
        "peaks": asdict(peaks),
        "residual": residual,
        "rounding": rounding,
        "narrowed": sketched.narrowed,
        "full scan": scan,
        "sketches": summarize_stages(work, sketched.stages, "sketches", least),
        "converged": converged,
    }
    del sketched
    free_memory(work)  # for the processes of both sides
    return result | {"kronfluence": measure_pairs(scale)}


def free_memory(work: Work) -> None:
    """Return the unused memory of the device to other processes."""
    gc.collect()
    if work.device.type == "cuda":
        torch.cuda.empty_cache()


def summarize_scan(work: Work, scanned: ScanResult, floor: Floor, peaks: Peaks) -> dict:
    """Return the times of a full scan, with the lower bound of its solve by arithmetic."""
    count = count_ekfac if scanned.full_residual is None else count_converged
    steps = count(work.scale, work.objective.space.size)
    return summarize_stages(work, scanned.stages, "scan", floor) | {
        "groups": scanned.solved.groups,
        "solve floor": sum(step.bound_seconds(peaks.single, peaks.exact) for step in steps),
    }


def summarize_residuals(exact: ScanResult) -> dict:
    """Return the residuals of the converged solves on the sampled matrix, and on all rows."""
    assert exact.full_residual is not None  # of a converged scan
    residual, whole = exact.solved.residual, exact.full_residual
    return {
        "residual": float(residual.max()),
        "within goal": float((residual <= RESIDUAL_GOAL).double().mean()),
        "full residual": {"median": float(whole.median()), "largest": float(whole.max())},
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
    """Return the result as Markdown tables."""
    ways = list_ways(result)
    lines = [
        f"{result['machine']['device']}, torch {result['machine']['torch']}: "
        f"{result['scale']['rows']:,} rows of {result['tokens']:,} tokens in all, "
        f"{result['scale']['queries']:,} queries, {result['parameters']:,} parameters",
        "",
        f"| | {' | '.join(ways)} |",
        f"| --- |{' --- |' * len(ways)}",
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
    stages = [
        f"Stages of {way}, s: "
        + ", ".join(f"{name} {took:.2f}" for name, took in result[way]["stages"].items())
        for way in ways
    ]
    pairs = format_pairs(result["kronfluence"])
    return "\n".join([*lines, "", *stages, "", *pairs, "", *format_verdict(result)])


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
