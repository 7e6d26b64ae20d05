"""The section of docs/results.md on where the time goes, written from its JSON."""

from pathlib import Path

from benchmarks.page import put_section

START = "<!-- bulk-profile: written by benchmarks/bulk/profile.py -->"
END = "<!-- bulk-profile: end -->"
SIDES = {
    "before": "before",
    "after": "after",
    "whole": "after, all rows and a full scan",
}


def write_section(path: Path, result: dict) -> None:
    """Put the section in its place."""
    put_section(path, START, END, section(result))


def section(result: dict) -> str:
    """The section as Markdown."""
    machine = result["machine"]
    head = (
        f"`python -m benchmarks.bulk.profile`, {machine['date']}: {machine['processor']}, "
        f"{machine['cores']} cores, torch {machine['versions']['torch']}. The built-in example's "
        f"audit, seconds by what the process was doing when it was looked at, a hundred times a "
        f"second. Before: commit {result['commit'][:8]}, the same study file. All rows and a full "
        'scan: without `[curvature] rows`, `[candidates] kind = "full"`; an answer that the other '
        "two approximate."
    )
    kinds = sorted(
        {kind for side in SIDES for kind in result[side]["seconds"]},
        key=lambda kind: -max(result[side]["seconds"].get(kind, 0) for side in SIDES),
    )
    rows = [
        f"| what | {' | '.join(SIDES.values())} |",
        f"| --- |{' ---: |' * len(SIDES)}",
        *(_row(kind, [result[side]["seconds"].get(kind, 0.0) for side in SIDES]) for kind in kinds),
        _row("**wall**", [result[side]["wall"] for side in SIDES]),
        _row("processor", [result[side]["processor"] for side in SIDES]),
        "| peak memory | " + " | ".join(f"{result[s]['peak_mb']:,.0f} MB" for s in SIDES) + " |",
    ]
    return "## Where the time of an audit goes\n\n" + head + "\n\n" + "\n".join(rows) + "\n"


def _row(name: str, seconds: list[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.1f}" for value in seconds) + " |"
