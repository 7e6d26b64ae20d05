"""The section of docs/results.md on how sketches scale, written from its JSON."""

from itertools import pairwise
from pathlib import Path

from benchmarks.page import put_section

START = "<!-- bulk-scale: written by benchmarks/bulk/scale.py -->"
END = "<!-- bulk-scale: end -->"
STAGES = ("hidden states", "directions", "sketches", "query sketches")


def write_section(path: Path, result: dict) -> None:
    """Put the section in its place."""
    put_section(path, START, END, section(result))


def section(result: dict) -> str:
    """The section as Markdown."""
    machine, sizes = result["machine"], result["sizes"]
    head = (
        f"`python -m benchmarks.bulk.scale`, {machine['date']}: {machine['processor']}, "
        f"{machine['cores']} cores, torch {machine['versions']['torch']}. MiniLM layer 5 + pooler "
        "+ classifier, sketches of 1,000 numbers in half precision (2 KB a row), the 100 most "
        "harmful and helpful rows of each query kept. Every size in a process of its own; wall "
        "seconds."
    )
    made = [
        f"| rows sketched | of these distinct | tokens | {' | '.join(STAGES)} | a row |",
        "| ---: " * (4 + len(STAGES)) + "|",
        *(_made(size) for size in sizes),
    ]
    searched = [
        "| rows searched | 200 queries | 2,000 queries | a query | peak memory |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *(_searched(size["corpus"], one) for size in sizes for one in size["searches"]),
    ]
    note = (
        "Seconds; 2,000 queries are sketched. Hidden states are taken of the distinct rows only: "
        "rows beyond these are the same ones again, sketched anew. Rows beyond those sketched are "
        "copies of their sketches in files of their own: the search reads as many bytes as ever. "
        "Peak memory counts the pages of these mapped files that were read (2 GB for a million "
        "rows), which the system takes back when it needs them, and the hidden states."
    )
    parts = [head, "\n".join(made), "\n".join(searched), "\n".join(_growth(sizes)), note]
    return "## Sketches at scale\n\n" + "\n\n".join(parts) + "\n"


def _made(size: dict) -> str:
    seconds = " | ".join(f"{size['seconds'][stage]:.1f}" for stage in STAGES)
    each = 1000 * size["seconds"]["sketches"] / size["sketched"]
    name = f"{size['sketched']:,} ({size['corpus']})"
    return f"| {name} | {size['distinct']:,} | {size['tokens']:.0f} | {seconds} | {each:.2f} ms |"


def _searched(corpus: str, one: dict) -> str:
    few, many = (one["seconds"][queries] for queries in ("200", "2000"))
    peak = f"{one['peak'] / 2**30:.2f} GB"
    return f"| {one['rows']:,} ({corpus}) | {few:.2f} | {many:.2f} | {many / 2:.2f} ms | {peak} |"


def _growth(sizes: list[dict]) -> list[str]:
    """How times grow where one number is ten times as large."""
    films = [size for size in sizes if size["corpus"] == "sst2"]
    searches = [one for size in films for one in size["searches"]]
    made = [size["seconds"]["sketches"] / size["sketched"] for size in films]
    told = [f"- sketches, ten times the rows: {10 * made[1] / made[0]:.1f} times the seconds"]
    for first, second in pairwise(searches):
        ratio = second["seconds"]["2000"] / first["seconds"]["2000"]
        rows = f"{first['rows']:,} to {second['rows']:,} rows"
        told.append(f"- search, {rows}: {ratio:.1f} times the seconds")
    for one in searches:
        ratio = one["seconds"]["2000"] / one["seconds"]["200"]
        told.append(f"- search of {one['rows']:,} rows, 200 to 2,000 queries: {ratio:.1f} times")
    return told
