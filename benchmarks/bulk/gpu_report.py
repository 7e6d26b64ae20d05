"""Page docs/results/gpu.md, written from the kept result."""

from benchmarks.page import ResultPage, bullets, table

GOAL_SECONDS = 300
PAPER_SECONDS = 87.6
"""Seconds a query with 1,000 candidates on four V100 (Guo et al., 2021)."""


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on one GPU: a full scan and sketches of many queries."""
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
                table(
                    ["", "full scan", "sketches"],
                    [
                        _row("seconds", scan["seconds"], sketches["seconds"], ".1f"),
                        _row("pass over the rows, s", scan["sweep"], sketches["sweep"], ".1f"),
                        _row("tokens a second", *_pair(result, "tokens a second"), ",.0f"),
                        _row("lower bound by arithmetic, s", *_floors(result, "arithmetic"), ".1f"),
                        _row("lower bound by memory traffic, s", *_floors(result, "bytes"), ".1f"),
                        _row("peak memory, GB", *_pair(result, "peak_gb"), ".1f"),
                    ],
                ),
                table(["stage of the full scan", "seconds"], _stages(scan)),
                table(["stage of the sketches", "seconds"], _stages(sketches)),
                f"The goal is {GOAL_SECONDS // 60} minutes for the full scan. Scores in bfloat16 "
                f"have a rank correlation of {result['rounding']['spearman']:.5f} with those in "
                "single precision (median over queries of a sample).",
            ],
            measured=bullets(
                "Command: `make bench-gpu`.",
                f"Hardware, {machine['date']}: one {machine['device']}, {machine['cores']} CPU "
                f"cores, CUDA {machine['cuda']}, torch {machine['torch']}.",
                "Model: the dimensions of BERT-base, random weights; the last two layers, pooler "
                f"and classifier are attributed ({result['parameters'] / 1e6:.2f} million "
                "parameters).",
                f"Data: {rows:,} random rows with the lengths of MultiNLI "
                f"({result['tokens'] / 1e6:.1f} million tokens), {queries:,} queries.",
                "Lower bounds: nominal peaks of "
                f"{result['peaks']['half'] / 1e12:.0f} and {result['peaks']['single'] / 1e12:.0f} "
                f"TFLOP/s in bfloat16 and TF32, {result['peaks']['bytes'] / 1e12:.1f} TB/s.",
                "The script calls the library directly, without flows, store and recall check.",
                "The weights are random, so the residual of EK-FAC "
                f"({result['residual']:.0f}) describes no trained model.",
                "The paper's figure was not measured again, and is for other hardware.",
            ),
        )
    ]


def _pair(result: dict, key: str) -> tuple[float, float]:
    return result["full scan"][key], result["sketches"][key]


def _floors(result: dict, kind: str) -> tuple[float, float]:
    return result["full scan"]["floors"][kind], result["sketches"]["floors"][kind]


def _row(name: str, scan: float, sketches: float, layout: str) -> list[str]:
    return [name, f"{scan:{layout}}", f"{sketches:{layout}}"]


def _stages(side: dict) -> list[list[str]]:
    return [[name, f"{seconds:.1f}"] for name, seconds in side["stages"].items()]
