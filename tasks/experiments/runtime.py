"""Time of an explanation by the methods of the paper and of fastif (Guo et al., 2021, Table 1)."""

from collections.abc import Mapping, Sequence

import torch

from tasks.experiments.nli_data import write_nli_study
from tasks.experiments.result import Cell, Claim, ExperimentResult
from tasks.experiments.runtime_parts import (
    BATCH_OF_ORIGINAL,
    DEPTH,
    QUERY_BATCH,
    ROWS,
    TIMED_STEPS,
    count_cores,
    time_parts,
)
from tasks.experiments.trained_nli import TrainedNli, make_balanced_picker
from tasks.experiments.workspace import Workspace

MODES = ("original", "fast", "parallel")
CANDIDATES = (10_000, 1_000)
"""Numbers of kNN candidates of the paper."""
PUBLISHED = {
    (0, "original"): 120.0,
    (10_000, "original"): 14.72,
    (1_000, "original"): 10.93,
    (10_000, "fast"): 6.61,
    (1_000, "fast"): 3.13,
    (10_000, "parallel"): 2.36,
    (1_000, "parallel"): 1.46,
}
"""Minutes a query on V100s, the last ones on four."""


def reproduce_runtime(workspace: Workspace) -> ExperimentResult:
    """Time each part on a trained model and compose the totals from the parts."""
    size = workspace.select_size(1_500, 3_500)
    world = TrainedNli(
        write_nli_study(workspace, size, size),
        "last:3",
        make_balanced_picker(workspace.select_size(4, 10)),
    )
    seconds_by_part = workspace.cache_json("seconds", lambda: time_parts(world))
    mean = {name: sum(timings) / len(timings) for name, timings in seconds_by_part.items()}
    row_seconds = {"parallel": mean["rows at once"]}
    paper = {
        (k, mode): mean[mode] + row_seconds.get(mode, mean["row"]) * (k or ROWS)
        for k in (0, *CANDIDATES)
        for mode in MODES
    }
    our_seconds = _estimate_ours(mean, size)
    return ExperimentResult(
        claims=_make_claims(paper, our_seconds),
        tables={
            f"Methods of the paper, minutes a query for {ROWS:,} rows (speed-up), and the "
            "published minutes": _tabulate_paper(paper),
            f"fastif, minutes a query for {QUERY_BATCH} queries together, all rows "
            "scored": _tabulate_ours(our_seconds, paper[0, "original"]),
            "Timed parts": _tabulate_parts(seconds_by_part),
        },
        notes=_make_notes(size, world),
    )


def _tabulate_paper(paper: Mapping[tuple[int, str], float]) -> list[dict[str, str]]:
    """Return a row a number of candidates; `paper` is keyed by number and mode, in seconds."""
    return [
        {"candidates": f"kNN, k = {k:,}" if k else "all rows"}
        | {
            f"{mode} s_test": _format_minutes(paper[k, mode], paper[0, "original"])
            for mode in MODES
        }
        | {"published": ", ".join(f"{PUBLISHED[k, w]:g}" for w in MODES if (k, w) in PUBLISHED)}
        for k in (0, *CANDIDATES)
    ]


def _tabulate_ours(
    our_seconds: Sequence[tuple[str, float, float]], slowest: float
) -> list[dict[str, Cell]]:
    """Return a row a method; `slowest` is in seconds."""
    return [
        {
            "fastif": name,
            "a query": _format_minutes(seconds, slowest),
            "of it shared by all queries, minutes": fixed_seconds / 60,
        }
        for name, seconds, fixed_seconds in our_seconds
    ]


def _tabulate_parts(seconds_by_part: Mapping[str, list[float]]) -> list[dict[str, Cell]]:
    """Return a row a timed part."""
    return [
        {
            "part": name,
            "seconds": sum(timings) / len(timings),
            "standard deviation": _standard_deviation(timings),
            "repetitions": len(timings),
        }
        for name, timings in seconds_by_part.items()
    ]


def _make_claims(
    paper: Mapping[tuple[int, str], float], our_seconds: Sequence[tuple[str, float, float]]
) -> list[Claim]:
    """Return the published claims with the results of this run."""
    fastest = min(our_seconds, key=lambda method: method[1])
    scan, narrow, wide = paper[0, "original"], paper[1_000, "original"], paper[10_000, "original"]
    fast_savings = [1 - paper[k, "fast"] / paper[k, "original"] for k in CANDIDATES]
    parallel_speedups = [paper[k, "fast"] / paper[k, "parallel"] for k in CANDIDATES]
    return [
        Claim(
            "kNN makes an explanation an order of magnitude faster.",
            "8 to 10 times",
            f"{scan / wide:.1f} to {scan / narrow:.1f} times",
            scan / narrow > 8,
        ),
        Claim(
            "The fast s_test saves more than half of the rest.",
            "55 % to 71 %",
            f"{min(fast_savings):.0%} to {max(fast_savings):.0%}",
            min(fast_savings) > 0.5,
        ),
        Claim(
            "Several processors more than halve the rest.",
            "2.1 to 2.8 times, 4 GPUs",
            f"{min(parallel_speedups):.1f} to {max(parallel_speedups):.1f} times, "
            f"{count_cores()} cores",
            min(parallel_speedups) > 2 if count_cores() >= 4 else None,
        ),
        Claim(
            "All three together: more than 80 times faster.",
            "82 times",
            f"{scan / paper[1_000, 'parallel']:,.0f} times",
            scan / paper[1_000, "parallel"] > 80,
        ),
        Claim(
            f"(Added here.) {fastest[0]}, all rows.",
            "none",
            f"{scan / fastest[1]:,.0f} times",
            None,
        ),
    ]


def _make_notes(size: int, world: TrainedNli) -> list[str]:
    """Return settings and remarks."""
    return [
        f"Timed on {size:,} rows and {len(world.positions)} queries with a MiniLM of which three "
        f"layers were trained ({world.objective.space.size:,} parameters).",
        f"Totals are composed of timed parts. A recursion of J = {DEPTH:,} steps: from "
        f"{TIMED_STEPS['original']} steps of {BATCH_OF_ORIGINAL} rows (original) or "
        f"{TIMED_STEPS['fast']} of one row (fast, T = 1; parallel: as many steps in "
        f"{count_cores()} threads of one core each, rows too). A scan: from the gradients of "
        "single rows.",
        "The search for neighbours is left out; it takes well under a second.",
        "fastif solves at a damping that leaves a curvature. Its work shared by all queries is "
        f"divided by {QUERY_BATCH}. The two passes of EK-FAC over the rows grow with their "
        "number, the decomposition between them does not.",
    ]


def _format_minutes(seconds: float, slowest: float) -> str:
    return f"{seconds / 60:.3g} ({slowest / seconds:,.0f} x)"


def _estimate_ours(mean: dict[str, float], size: int) -> list[tuple[str, float, float]]:
    """Return name, seconds a query, and seconds shared by all queries, for the paper's rows."""
    scale = ROWS / size
    sketch, scan = mean["sketches, rows"] * scale, mean["scan"] * scale / QUERY_BATCH
    fit, solve = mean["EK-FAC, rows"] * scale + mean["EK-FAC, factors"], mean["EK-FAC, queries"]
    return [
        ("Scan of all rows, after the solves", scan, 0.0),
        ("EK-FAC and scan", (fit + solve) / QUERY_BATCH + scan, fit),
        ("EK-FAC fitted before, and scan", solve / QUERY_BATCH + scan, fit),
        ("Sketches", sketch / QUERY_BATCH + mean["sketches, query"], sketch),
        ("Sketches, training sketches precomputed", mean["sketches, query"], sketch),
    ]


def _standard_deviation(values: list[float]) -> float | None:
    return None if len(values) < 2 else float(torch.tensor(values).std())
