"""The section of docs/results.md on how sketches scale, written from its JSON."""

from pathlib import Path

from benchmarks.page import put_section

START = "<!-- bulk-scale: written by benchmarks/bulk/scale.py -->"
END = "<!-- bulk-scale: end -->"
STAGES = ("hidden states", "directions", "sketches", "query sketches", "search", "whole")


def write_section(path: Path, result: dict) -> None:
    """Put the section in its place."""
    put_section(path, START, END, section(result))


def section(result: dict) -> str:
    """The section as Markdown."""
    machine = result["machine"]
    head = (
        f"`python -m benchmarks.bulk.scale`, {machine['date']}: {machine['processor']}, "
        f"{machine['cores']} cores, torch {machine['versions']['torch']}. MiniLM layer 5 + pooler "
        "+ classifier, sketches of 1,000 numbers in half precision (2 KB a row), the 200 most "
        "extreme rows of each query kept. Every size in a process of its own; wall seconds."
    )
    names = " | ".join(STAGES)
    table = [
        f"| rows | of these distinct | sketched | queries | {names} | peak memory |",
        "| ---: " * (5 + len(STAGES)) + "|",
        *(_row(size) for size in result["sizes"]),
    ]
    parts = [head, "\n".join(table), *_growth(result["sizes"])]
    return "## Sketches at scale\n\n" + "\n\n".join(parts) + "\n"


def _row(size: dict) -> str:
    seconds = " | ".join(f"{size['seconds'][stage]:.1f}" for stage in STAGES)
    return (
        f"| {size['rows']:,} ({size['corpus']}) | {size['distinct']:,} | {size['sketched']:,} "
        f"| {size['queries']:,} | {seconds} | {size['peak'] / 2**30:.2f} GB |"
    )


def _growth(sizes: list[dict]) -> list[str]:
    """How times grow, where two sizes differ in one number only."""
    by_size = {(size["corpus"], size["rows"], size["queries"]): size for size in sizes}
    told = []
    for stage, few, many, times in (
        ("sketches", ("sst2", 10_000, 2_000), ("sst2", 100_000, 2_000), 10),
        ("search", ("sst2", 100_000, 2_000), ("sst2", 1_000_000, 2_000), 10),
        ("search", ("sst2", 100_000, 200), ("sst2", 100_000, 2_000), 10),
        ("query sketches", ("sst2", 100_000, 200), ("sst2", 100_000, 2_000), 10),
    ):
        if few in by_size and many in by_size:
            ratio = by_size[many]["seconds"][stage] / by_size[few]["seconds"][stage]
            what = "rows" if few[1] != many[1] else "queries"
            told.append(f"- {stage}, {times} times the {what}: {ratio:.1f} times the seconds")
    note = (
        "Rows beyond the distinct ones are these again, sketched anew; beyond the sketched ones "
        "their sketches are copied to files of their own: the search reads as many bytes as ever."
    )
    return ["\n".join(told), note] if told else [note]
