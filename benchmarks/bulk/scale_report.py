"""Page docs/results/sketch-scaling.md, written from the kept result."""

from itertools import pairwise

from benchmarks.page import ResultPage, bullets, describe_machine, format_goal, table

FEW, MANY = "search, 200 queries", "search, 2,000 queries"
STAGES = ("directions", "sketches", "query sketches", FEW, MANY)
GROWING = {
    "sketches": ("sketches",),
    MANY: (MANY,),
    "sketches and their search together": ("sketches", MANY),
}
"""Stages that grow with the number of rows, by the words for them."""
WITHIN, MOST_MEMORY = 0.15, 4 * 2**30
"""Accepted deviation from linear growth; accepted peak memory of a process in bytes."""
OLDER_SEARCH = (
    "The search columns above were measured before an improvement of the search. It merged the "
    "top-k and bottom-k of each tile into the previous ones, which took most of the time. The "
    "search alone was measured again afterwards:"
)


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on time and memory of sketches by number of rows."""
    sizes = result["sizes"]
    first, last = sizes[0], sizes[-1]
    each = 1000 * last["seconds"]["sketches"] / last["rows"]
    head = ["rows", "distinct rows", "tokens", *STAGES, "a row", "peak memory"]
    scaling = f"{each:.2f} ms a row and {_peak(last) / 2**30:.2f} GB at {last['rows']:,} rows"
    parts = [
        table(head, [_row(size) for size in sizes], left=0),
        "Goals:",
        bullets(*_growth(sizes)),
    ]
    return [
        ResultPage(
            name="sketch-scaling",
            title="Sketches of up to a million rows",
            question="How do time and memory of sketches grow with the number of training rows?",
            answer=(
                f"Sketching grows linearly: {scaling}, against "
                f"{1000 * first['seconds']['sketches'] / first['rows']:.2f} ms a row and "
                f"{_peak(first) / 2**30:.2f} GB at {first['rows']:,} rows."
            ),
            headline=scaling,
            tables=[*parts, *_search(result)],
            measured=_describe(result),
        )
    ]


def _describe(result: dict) -> str:
    sizes = result["sizes"]
    entries = [
        "Command: `python -m benchmarks.bulk.scale`.",
        f"Hardware, {describe_machine(result)}.",
        "Data and model: phrases of SST-2, MiniLM layer 5 + pooler + classifier.",
        f"Sketches: {sizes[0]['bytes_a_row'] // 2:,} numbers in half precision "
        f"({sizes[0]['bytes_a_row']:,} bytes a row).",
        "Search: the top 100 and bottom 100 rows (most helpful and most harmful) of each query.",
        "Each row passes once through the whole model; only its sketch is kept. Each size ran in "
        "its own process. Times are wall seconds.",
    ]
    if result.get("search"):
        entries.append(
            "Search alone: `python -m benchmarks.bulk.scale --search`, "
            f"{result['searched_on']['date']}: random numbers in files of the format of sketches, "
            "read again for each 256 queries; minimum of three rounds."
        )
    return bullets(*entries)


def _search(result: dict) -> list[str]:
    """Return the table and the goals of the search alone, if it was measured."""
    sizes = result.get("search")
    if not sizes:
        return []
    rows = [
        [f"{size['rows']:,}", *(f"{size['seconds'][name]:,.2f} s" for name in (FEW, MANY))]
        for size in sizes
    ]
    growth = [
        _linear(
            f"search alone, {few['rows']:,} to {many['rows']:,} rows",
            few["seconds"][MANY],
            many["seconds"][MANY],
            many["rows"] / few["rows"],
        )
        for few, many in pairwise(sizes)
    ]
    growth += [
        _linear(
            f"search alone of {size['rows']:,} rows, 200 to 2,000 queries",
            size["seconds"][FEW],
            size["seconds"][MANY],
            10,
        )
        for size in sizes
    ]
    return [
        OLDER_SEARCH,
        table(["rows", "200 queries", "2,000 queries"], rows, left=0),
        bullets(*growth),
    ]


def _row(size: dict) -> list[str]:
    each = 1000 * size["seconds"]["sketches"] / size["rows"]
    return [
        f"{size['rows']:,}",
        f"{size['distinct']:,}",
        f"{size['tokens']:.1f}",
        *(f"{size['seconds'][stage]:,.1f}" for stage in STAGES),
        f"{each:.2f} ms",
        f"{_peak(size) / 2**30:.2f} GB",
    ]


def _growth(sizes: list[dict]) -> list[str]:
    """Return growth of seconds and memory with rows and queries, each with its goal."""
    lines = []
    for few, many in pairwise(sizes):
        words = f"{few['rows']:,} to {many['rows']:,} rows"
        lines += [
            _linear(
                f"{name}, {words}",
                _sum(few, stages),
                _sum(many, stages),
                many["rows"] / few["rows"],
            )
            for name, stages in GROWING.items()
        ]
    lines += [
        _linear(
            f"search of {size['rows']:,} rows, 200 to 2,000 queries",
            size["seconds"][FEW],
            size["seconds"][MANY],
            10,
        )
        for size in sizes
    ]
    peaks = [_peak(size) for size in sizes]
    verdict = format_goal(max(peaks) <= MOST_MEMORY)
    lines.append(
        f"peak memory, {sizes[0]['rows']:,} to {sizes[-1]['rows']:,} rows: "
        f"{peaks[0] / 2**30:.2f} to {peaks[-1] / 2**30:.2f} GB (below 4 GB: {verdict})"
    )
    return lines


def _sum(size: dict, stages: tuple[str, ...]) -> float:
    return sum(size["seconds"][stage] for stage in stages)


def _linear(what: str, few: float, many: float, times: float) -> str:
    growth_ratio = many / few / times
    verdict = format_goal(abs(growth_ratio - 1) <= WITHIN)
    growth = f"{times * growth_ratio:.1f} times the seconds"
    return f"{what}: {growth} ({growth_ratio:.2f} of linear, {verdict})"


def _peak(size: dict) -> int:
    return max(size["peak"].values())
