"""The section of docs/results.md on how sketches scale, written from its JSON."""

from itertools import pairwise

from benchmarks.page import describe_machine

FEW, MANY = "search, 200 queries", "search, 2,000 queries"
STAGES = ("directions", "sketches", "query sketches", FEW, MANY)
GROWING = {
    "sketches": ("sketches",),
    MANY: (MANY,),
    "sketches and their search together": ("sketches", MANY),
}
"""What takes longer with more rows."""
NOTE = (
    "The search in the table is from before the ends of a tile were taken by themselves, without "
    "merging them into those found so far; most of its time was that. The search alone, measured "
    "again since (`python -m benchmarks.bulk.scale --search`, {date}: random numbers in files of "
    "the same kind, which are read anew for every 256 queries; least of three rounds):"
)
WITHIN, MOST_MEMORY = 0.15, 4 * 2**30
"""Of linear; bytes of a process at its peak."""


def section(result: dict) -> str:
    """The section as Markdown."""
    sizes = result["sizes"]
    head = (
        f"`python -m benchmarks.bulk.scale`, {describe_machine(result)}. "
        f"MiniLM layer 5 + pooler "
        f"+ classifier on phrases of SST-2, sketches of {sizes[0]['bytes_a_row'] // 2:,} numbers "
        f"in half precision ({sizes[0]['bytes_a_row']:,} bytes a row), the 100 most harmful and "
        "helpful rows of each of 2,000 queries. Every row passes through the whole model once and "
        "nothing of it is kept but its sketch. Every size in a process of its own; wall seconds."
    )
    table = [
        f"| rows | of these distinct | tokens | {' | '.join(STAGES)} | a row | peak memory |",
        "| ---: " * (5 + len(STAGES)) + "|",
        *(_row(size) for size in sizes),
    ]
    return (
        "## Sketches at scale\n\n"
        + "\n\n".join([head, "\n".join(table), "\n".join(_growth(sizes)), *_searched(result)])
        + "\n"
    )


def _searched(result: dict) -> list[str]:
    """The search alone, where it was measured by itself."""
    sizes = result.get("search")
    if not sizes:
        return []
    table = ["| rows | 200 queries | 2,000 queries |", "| ---: | ---: | ---: |"]
    table += [
        f"| {size['rows']:,} | {size['seconds'][FEW]:,.2f} s | {size['seconds'][MANY]:,.2f} s |"
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
    note = NOTE.format(date=result["searched_on"]["date"])
    return [note, "\n".join(table), "\n".join(growth)]


def _row(size: dict) -> str:
    seconds = " | ".join(f"{size['seconds'][stage]:,.1f}" for stage in STAGES)
    each = 1000 * size["seconds"]["sketches"] / size["rows"]
    return (
        f"| {size['rows']:,} | {size['distinct']:,} | {size['tokens']:.1f} | {seconds} "
        f"| {each:.2f} ms | {_peak(size) / 2**30:.2f} GB |"
    )


def _growth(sizes: list[dict]) -> list[str]:
    """How seconds grow with rows and queries, and memory, beside what is asked of them."""
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
    verdict = "reached" if max(peaks) <= MOST_MEMORY else "**not reached**"
    lines.append(
        f"- peak memory, {sizes[0]['rows']:,} to {sizes[-1]['rows']:,} rows: "
        f"{peaks[0] / 2**30:.2f} to {peaks[-1] / 2**30:.2f} GB (below 4 GB: {verdict})"
    )
    return lines


def _sum(size: dict, stages: tuple[str, ...]) -> float:
    return sum(size["seconds"][stage] for stage in stages)


def _linear(what: str, few: float, many: float, times: float) -> str:
    growth_ratio = many / few / times
    verdict = "reached" if abs(growth_ratio - 1) <= WITHIN else "**not reached**"
    growth = f"{times * growth_ratio:.1f} times the seconds"
    return f"- {what}: {growth} ({growth_ratio:.2f} of linear, {verdict})"


def _peak(size: dict) -> int:
    return max(size["peak"].values())
