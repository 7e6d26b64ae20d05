"""Page docs/results/gpu.md, written from the kept result."""

from benchmarks.bulk.gpu_counts import count_converged, count_ekfac
from benchmarks.bulk.gpu_workload import FULL
from benchmarks.page import ResultPage, bullets, format_goal, table

GOALS = {"full scan": 40.0, "sketches": 12.0, "converged": 120.0}
"""Seconds of each way at the full scale that should not be exceeded."""
SOLVE_GOAL, RESIDUAL_GOAL, PAIRS_GOAL = 2.0, 0.1, 10.0
"""Seconds of the solve by EK-FAC, largest residual, and speed-up over kronfluence."""
PAPER_SECONDS = 87.6
"""Seconds a query with 1,000 candidates on four V100 (Guo et al., 2021)."""
LOW_PEAK, SINGLE_PEAK = 494e12, 67e12
"""Nominal peaks of one H200 in TF32 and in single precision."""
PRECISIONS = {"tensor cores": "TF32", "bfloat16": "bfloat16"}


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on one GPU: scans, sketches and a converged answer of many queries."""
    machine, scale = result["machine"], result["scale"]
    scan, sketches = result["full scan"], result["sketches"]
    queries, rows = scale["queries"], scale["rows"]
    hours = PAPER_SECONDS * queries / 3600
    return [
        ResultPage(
            name="gpu",
            title="GPU",
            question=f"How long do {queries:,} queries against {rows:,} rows take on one GPU?",
            answer=f"A full scan takes {scan['seconds']:.0f} s on one {machine['device']}, "
            f"{scan['times the arithmetic']:.1f} times the lower bound of its arithmetic; sketches "
            f"take {sketches['seconds']:.0f} s. With the paper's {PAPER_SECONDS} s a query (1,000 "
            f"candidates, four V100) as many queries take {hours:.0f} hours.",
            headline=f"full scan {scan['seconds']:.0f} s, {queries:,} queries x {rows:,} rows",
            tables=[
                _tabulate_ways(result),
                *(_tabulate_stages(result, way) for way in list_ways(result)),
                *_describe_converged(result),
                *(format_pairs(result["kronfluence"]) if "kronfluence" in result else []),
                *_describe_goals(result),
                _tabulate_counts(result["parameters"]),
                *_describe_small(result),
            ],
            measured=_describe_method(result),
        )
    ]


def list_ways(result: dict) -> list[str]:
    """Return the ways that were measured; an older result has no converged one."""
    return [way for way in GOALS if way in result]


def _tabulate_ways(result: dict) -> str:
    ways = list_ways(result)
    cells = {
        "seconds": lambda way: f"{way['seconds']:.1f}",
        "pass over the rows, s": lambda way: f"{way['sweep']:.1f}",
        "tokens a second": lambda way: f"{way['tokens a second']:,.0f}",
        "lower bound of the pass by arithmetic, s": lambda way: (
            f"{way['floors']['arithmetic']:.1f}"
        ),
        "lower bound of the pass by memory traffic, s": lambda way: f"{way['floors']['bytes']:.1f}",
        "peak memory, GB": lambda way: f"{way['peak_gb']:.1f}",
    }
    rows = [[name, *(cell(result[way]) for way in ways)] for name, cell in cells.items()]
    return table(["", *ways], rows)


def _tabulate_stages(result: dict, way: str) -> str:
    stages = result[way]["stages"].items()
    noun = {"sketches": "the sketches", "converged": "the converged way"}.get(way)
    return table(
        [f"stage of {noun or 'the full scan'}", "seconds"],
        [[name, f"{seconds:.1f}"] for name, seconds in stages],
    )


def _describe_converged(result: dict) -> list[str]:
    if "converged" not in result:
        return []
    way, scale = result["converged"], result["scale"]
    whole = way["full residual"]
    return [
        f"Converged: exact for the matrix of {scale['converged_rows']:,} sampled rows, with a "
        f"largest residual of {way['residual']:.2g} there ({way['within goal']:.0%} of the queries "
        f"at {RESIDUAL_GOAL} or less). On the matrix of all rows the residual, estimated from two "
        f"samples of {scale['residual_rows'] // 2:,} rows with s_test in bfloat16, has median "
        f"{whole['median']:.2g} and maximum {whole['largest']:.2g}."
    ]


def format_pairs(pairs: dict) -> list[str]:
    """Return the table of pairs a second, of fastif and kronfluence at equal precision."""
    rows = []
    for name, title in PRECISIONS.items():
        ours, peer, agreement = (pairs[name][key] for key in ("fastif", "kronfluence", "agreement"))
        rates = [side.get("pairs a second") for side in (ours, peer)]
        cells = [
            f"{rate:,.0f}" if rate else side["failure"]
            for rate, side in zip(rates, (ours, peer), strict=True)
        ]
        ratio = f"{rates[0] / rates[1]:.1f}" if all(rates) else ""
        rows.append([title, *cells, ratio, "" if agreement is None else f"{agreement:.3f}"])
    head = ["precision", "fastif, pairs a second", "kronfluence", "ratio", "rank correlation"]
    return [
        table(head, rows),
        f"EK-FAC of the linear layers, {pairs['rows']:,} rows x {pairs['queries']:,} queries, "
        "every score; the fit is not counted, the gradients of the queries are. At most "
        f"{pairs['limit']:.0f} s a run.",
    ]


def format_verdict(result: dict) -> list[str]:
    """Return the lines below the tables in a terminal; goals are for the full scale."""
    rounding = result["rounding"]
    lines = [
        f"Peaks are {result['peaks']['source']}. Median residual of EK-FAC on the sampled "
        f"matrix: {result['residual']:.2g}. Low precision: rank correlation with single precision "
        f"{rounding['spearman']:.5f}, at least {rounding['least']:.5f} a query.",
        *_describe_converged(result),
    ]
    is_full = (result["scale"]["rows"], result["scale"]["queries"]) == (FULL.rows, FULL.queries)
    return [*lines, *(_describe_goals(result) if is_full else [])]


def _describe_goals(result: dict) -> list[str]:
    """Return the goals as one paragraph."""
    goals = [
        f"{way} in {GOALS[way]:.0f} s: {format_goal(result[way]['seconds'] <= GOALS[way])}"
        for way in list_ways(result)
    ]
    solve = result["full scan"]["stages"]["solve"]
    goals.append(f"solve by EK-FAC in {SOLVE_GOAL:.0f} s: {format_goal(solve <= SOLVE_GOAL)}")
    if "converged" in result:
        residual = result["converged"]["residual"]
        goals.append(
            f"residual of {RESIDUAL_GOAL} for all queries: {format_goal(residual <= RESIDUAL_GOAL)}"
        )
    for name, title in PRECISIONS.items() if "kronfluence" in result else ():
        ours, peer = (result["kronfluence"][name][key] for key in ("fastif", "kronfluence"))
        if "pairs a second" in ours and "pairs a second" in peer:
            ratio = ours["pairs a second"] / peer["pairs a second"]
            goals.append(
                f"{PAIRS_GOAL:.0f} times the pairs a second of kronfluence in {title}: "
                f"{format_goal(ratio >= PAIRS_GOAL)}"
            )
    return [f"Goals: {'; '.join(goals)}."]


def _tabulate_counts(parameters: int) -> str:
    """Return the operations of both solves at the full scale, with the bound by arithmetic."""
    steps = {
        "EK-FAC": count_ekfac(FULL, parameters),
        "converged": count_converged(FULL, parameters),
    }
    rows = [
        [
            f"{step.name} ({way})",
            f"{step.operations:.1e}",
            "TF32" if step.is_low else "single",
            f"{step.bound_seconds(LOW_PEAK, SINGLE_PEAK):.2f}",
        ]
        for way, own in steps.items()
        for step in own
    ]
    head = [
        "step of a solve: counted, not measured",
        "operations",
        "precision",
        "seconds at the peak",
    ]
    return table(head, rows)


def _describe_small(result: dict) -> list[str]:
    """Return the table of the small scale, if it was measured."""
    small = result.get("small")
    if small is None:
        return []
    scale, machine = small["scale"], small["machine"]
    title = (
        f"The small scale ({machine['device']}, {machine['date']}): {scale['queries']:,} queries x "
        f"{scale['rows']:,} rows."
    )
    return [
        title,
        _tabulate_ways(small),
        *_describe_converged(small),
        *format_pairs(small["kronfluence"]),
    ]


def _describe_method(result: dict) -> str:
    machine, scale, rounding = result["machine"], result["scale"], result["rounding"]
    return bullets(
        "Command: `make bench-gpu`.",
        f"Hardware, {machine['date']}: one {machine['device']}, {machine['cores']} CPU "
        f"cores, CUDA {machine['cuda']}, torch {machine['torch']}.",
        "Model: the dimensions of BERT-base, random weights; the last two layers, pooler "
        f"and classifier are attributed ({result['parameters'] / 1e6:.2f} million "
        "parameters).",
        f"Data: {scale['rows']:,} random rows with the lengths of MultiNLI "
        f"({result['tokens'] / 1e6:.1f} million tokens), {scale['queries']:,} queries.",
        f"Scores in bfloat16 have a rank correlation of {rounding['spearman']:.5f} with those in "
        "single precision (median over queries of a sample).",
        "Lower bounds: nominal peaks of "
        f"{result['peaks']['half'] / 1e12:.0f} and {result['peaks']['single'] / 1e12:.0f} "
        f"TFLOP/s in bfloat16 and TF32, {result['peaks']['bytes'] / 1e12:.1f} TB/s; of the solves "
        f"also {SINGLE_PEAK / 1e12:.0f} TFLOP/s in single precision.",
        "Passes through the model: TF32"
        + (
            "; in the scans bfloat16 by autocast, and in the converged solve and its certificate "
            "single precision."
            if "converged" in result
            else "."
        ),
        "The script calls the library directly, without flows, store and recall check.",
        "The weights are random, so the residual of EK-FAC "
        f"({result['residual']:.0f}) describes no trained model.",
        "The paper's figure was not measured again, and is for other hardware.",
    )
