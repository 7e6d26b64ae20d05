"""How long an explanation takes: the paper's ways, and ours (Table 1)."""

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
"""The paper's."""
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
    """Each part timed on a trained model; whole answers put together from the parts."""
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
            f"The paper's ways, minutes a query for {ROWS:,} rows (times faster), and the paper's "
            "minutes": _tabulate_paper(paper),
            f"Ours, minutes a query of {QUERY_BATCH} asked together, "
            "for as many rows, all of them": _tabulate_ours(our_seconds, paper[0, "original"]),
            "What was timed": _tabulate_parts(seconds_by_part),
        },
        notes=_make_notes(size, world),
    )


def _tabulate_paper(paper: Mapping[tuple[int, str], float]) -> list[dict[str, str]]:
    """A row a number of candidates; seconds are keyed by it and the mode."""
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
    """A row a method; `slowest` is in seconds."""
    return [
        {
            "ours": name,
            "a query": _format_minutes(seconds, slowest),
            "of it for all queries once, minutes": fixed_seconds / 60,
        }
        for name, seconds, fixed_seconds in our_seconds
    ]


def _tabulate_parts(seconds_by_part: Mapping[str, list[float]]) -> list[dict[str, Cell]]:
    """A row a part that was timed."""
    return [
        {
            "part": name,
            "seconds": sum(timings) / len(timings),
            "deviation": _standard_deviation(timings),
            "times": len(timings),
        }
        for name, timings in seconds_by_part.items()
    ]


def _make_claims(
    paper: Mapping[tuple[int, str], float], our_seconds: Sequence[tuple[str, float, float]]
) -> list[Claim]:
    """What the source says, beside what was measured."""
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
            "The fast s_test takes more than half of what is left away.",
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
        Claim(f"(Ours.) {fastest[0]}, all rows.", "none", f"{scan / fastest[1]:,.0f} times", None),
    ]


def _make_notes(size: int, world: TrainedNli) -> list[str]:
    """What is to be known beside it."""
    return [
        f"Timed on {size:,} rows and {len(world.positions)} queries of a MiniLM of which "
        f"three layers were trained ({world.objective.space.size:,} parameters); whole "
        f"answers are put together: a recursion of J = {DEPTH:,} steps from "
        f"{TIMED_STEPS['original']} of {BATCH_OF_ORIGINAL} rows a step (original) or "
        f"{TIMED_STEPS['fast']} of one (fast, T = 1; parallel: the same steps in "
        f"{count_cores()} "
        "threads of one processor each, rows too), a scan from the gradients of single "
        "rows. The search for neighbours is left out; it takes well under a second. Ours "
        "answer at a damping that leaves a curvature; their part for all queries once is "
        f"spread over the {QUERY_BATCH}. EK-FAC's two passes grow with the rows, the "
        "decomposition between them does not."
    ]


def _format_minutes(seconds: float, slowest: float) -> str:
    return f"{seconds / 60:.3g} ({slowest / seconds:,.0f} x)"


def _estimate_ours(mean: dict[str, float], size: int) -> list[tuple[str, float, float]]:
    """Name, seconds a query, and seconds for all queries once, for the paper's number of rows."""
    scale = ROWS / size
    sketch, scan = mean["sketches, rows"] * scale, mean["scan"] * scale / QUERY_BATCH
    fit, solve = mean["EK-FAC, rows"] * scale + mean["EK-FAC, factors"], mean["EK-FAC, queries"]
    return [
        ("A scan of all rows, once solved", scan, 0.0),
        ("EK-FAC, then the scan", (fit + solve) / QUERY_BATCH + scan, fit),
        ("The same, fitted before", solve / QUERY_BATCH + scan, fit),
        ("Sketches", sketch / QUERY_BATCH + mean["sketches, query"], sketch),
        ("Sketches, the rows' made before", mean["sketches, query"], sketch),
    ]


def _standard_deviation(values: list[float]) -> float | None:
    return None if len(values) < 2 else float(torch.tensor(values).std())
