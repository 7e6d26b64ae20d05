"""Page docs/results/full-scan.md, written from the kept result."""

from statistics import median

from benchmarks.bulk.sides.registry import SIDES
from benchmarks.page import ResultPage, bullets, format_goal, join_parts, table

TITLES = {"the paper's way": "the published method"}
"""Titles of sides, by their names in older results."""
EXTRAPOLATED = (
    "\\* extrapolated. Of the published method {solved} whole s_test and {scored} candidate scores "
    "a round were timed; of the conjugate gradients of dattri, {few} queries."
)


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on a full scan against the published method and other packages."""
    headline = "; ".join(
        f"{SIDES[ratio['against']].title}: {_times(ratio['wall']['median'])} faster than "
        f"{SIDES[ratio['side']].title}"
        for ratio in result["ratios"]
        if SIDES[ratio["side"]].every_round
    )
    reached = sum(ratio["reached"] for ratio in result["ratios"])
    parts = [*_missing(result), _sides(result), EXTRAPOLATED.format(**result["sizes"])]
    parts += [_ratios(result)]
    tried = [_residuals(result["residuals"])] if result["residuals"] else []
    tried += [_agreement(result["agreement"])] if result["agreement"] else []
    return [
        ResultPage(
            name="full-scan",
            title="Full scan against other packages",
            question="How long do all scores of all queries take, here and with other packages?",
            answer=(
                f"Speed-up of a full scan: {headline}. {reached} of the "
                f"{len(result['ratios'])} goals for the speed-up are reached; the table marks the "
                "others."
            ),
            headline=headline,
            tables=parts,
            measured=join_parts(_describe(result), _settings(result)),
            tried=join_parts(*tried) if tried else "",
        )
    ]


def _describe(result: dict) -> str:
    machine, sizes = result["machine"], result["sizes"]
    turns = [turn for side in result["raw"].values() for turn in side if "load" in turn]
    loads = [load for turn in turns for load in turn["load"]]
    return bullets(
        "Command: `python -m benchmarks.bulk.against`.",
        f"Hardware, {machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{sizes['threads']} threads a side, torch {machine['versions']['torch']}, load "
        f"{min(loads):.1f} to {max(loads):.1f}. Each side ran in its own process.",
        f"Data and model: SST-2, MiniLM layer 5 + pooler + classifier; {sizes['rows']:,} training "
        f"rows, {sizes['queries']} queries, single precision.",
        "Seconds: all work that answers the queries from a trained model (factors, solves, "
        "scores).",
        "Frozen layers: their output is given to every package and left out of these seconds "
        "(`prefix` under parts). Against the published method, which runs the whole model, it is "
        "counted.",
        "Batches of the other packages are sorted by length and truncated to their longest row, "
        "which none of them does on its own.",
        "dattri solves each query once here. Its own loop would solve it again for each batch of "
        "training rows.",
    )


def _missing(result: dict) -> list[str]:
    names = [SIDES[name].title for name in result["missing"]]
    names += [] if result["residuals"] else ["the residuals of s_test"]
    return [f"Not measured yet: {'; '.join(names)}."] if names else []


def _sides(result: dict) -> str:
    queries = result["sizes"]["queries"]
    head = ["side", "rounds", "seconds", "CPU seconds", "a query", "peak MB", "parts, seconds"]
    rows = []
    for name, side in result["sides"].items():
        mark = " *" if side["multiplied_up"] else ""
        rows.append(
            [
                SIDES[name].title,
                f"{side['rounds']}",
                f"{side['wall']:,.3g}{mark}",
                f"{side['cpu']:,.3g}{mark}",
                f"{_amount(side['wall'] / queries)}{mark}",
                f"{side['peak_mb']:,.0f}",
                ", ".join(f"{part} {seconds:.3g}" for part, seconds in side["parts"].items()),
            ]
        )
    rows += [
        [SIDES[name].title, *[""] * 5, f"failed: {reason[:100].replace('|', '/')}"]
        for name, reason in result["failures"].items()
    ]
    return table(head, rows)


def _ratios(result: dict) -> str:
    head = ["side", "fastif", "speed-up", "minimum - maximum", "in CPU seconds", "goal", ""]
    rows = []
    for ratio in result["ratios"]:
        wall = ratio["wall"]
        rows.append(
            [
                *(SIDES[ratio[key]].title for key in ("side", "against")),
                _times(wall["median"]),
                f"{_times(wall['least'])} - {_times(wall['most'])}",
                _times(ratio["cpu"]["median"]),
                _times(ratio["goal"]),
                format_goal(ratio["reached"]),
            ]
        )
    return table(head, rows, left=2)


def _settings(result: dict) -> str:
    entries = []
    for side in SIDES.values():
        description = side.description.format(**result["sizes"])
        version = result["versions"].get(side.package)
        entries.append(f"{side.title} ({side.package} {version}): {description}.")
    return bullets(*entries)


def _residuals(residuals: dict) -> str:
    rows = []
    for at, label in (("paper", "the paper's, 50"), ("ours", "that of fastif")):
        for side, sides in residuals[at].items():
            cells = (_span(sides[name]) for name in ("Gauss-Newton", "Hessian"))
            rows.append([TITLES.get(side, side), label, *cells])
    return join_parts(
        "**Residuals of s_test.** Each solver is measured on both matrices. The published "
        "recursion solves for the Hessian, `Dual` for the Gauss-Newton matrix.",
        table(["s_test", "λ", "residual, Gauss-Newton", "residual, Hessian"], rows, left=2),
        "‖b - (A + λI) x‖ / ‖b‖ over all training rows, median (max) of the queries that the "
        "published method solved. At the λ of fastif its recursion ran with scale "
        f"{residuals['scale_at_ours']:g}, for one query.",
    ).strip()


def _agreement(pairs: list[dict]) -> str:
    rows = []
    for agreement in pairs:
        cells = (
            f"{agreement[kind]['median']:.4f} ({agreement[kind]['least']:.4f})"
            for kind in ("pearson", "spearman")
        )
        rows.append([*(SIDES[name].title for name in agreement["sides"]), *cells])
    return join_parts(
        "**Agreement of the scores** over all training rows, median (minimum) of the queries. "
        "kronfluence samples labels where fastif takes their expectation.",
        table(["scores of", "and of", "Pearson", "Spearman"], rows, left=2),
    ).strip()


def _span(values: list[float]) -> str:
    return f"{median(values):.2g} ({max(values):.2g})"


def _amount(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2g} x"
