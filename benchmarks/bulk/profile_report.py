"""The section of docs/results.md on where the time goes, written from its JSON."""

from benchmarks.page import describe_machine

SIDES = {
    "before": "before",
    "after": "after",
    "whole": "after, all rows and a full scan",
}


def section(result: dict) -> str:
    """The section as Markdown."""
    head = (
        f"`python -m benchmarks.bulk.profile`, {describe_machine(result)}. "
        f"The built-in example's "
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
