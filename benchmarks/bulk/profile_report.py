"""Page docs/results/profile.md, written from the kept result."""

from benchmarks.page import ResultPage, bullets, describe_machine, table

SIDES = {
    "before": "before",
    "after": "after",
    "whole": "after, all rows and a full scan",
}


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the seconds of an audit by kind of work."""
    kinds = sorted(
        {kind for side in SIDES for kind in result[side]["seconds"]},
        key=lambda kind: -max(result[side]["seconds"].get(kind, 0) for side in SIDES),
    )
    after = result["after"]
    shares = [after["seconds"].get(kind, 0.0) / after["wall"] for kind in kinds[:3]]
    named = ", ".join(f"{kind} {share:.0%}" for kind, share in zip(kinds[:3], shares, strict=True))
    rows = [
        *(_row(kind, [result[side]["seconds"].get(kind, 0.0) for side in SIDES]) for kind in kinds),
        _row("**wall**", [result[side]["wall"] for side in SIDES]),
        _row("processor", [result[side]["processor"] for side in SIDES]),
        ["peak memory", *(f"{result[side]['peak_mb']:,.0f} MB" for side in SIDES)],
    ]
    return [
        ResultPage(
            name="profile",
            title="Time of an audit by kind of work",
            question="Which work takes the time of an audit?",
            answer=f"Of {after['wall']:.0f} s wall time: {named}.",
            headline=named,
            tables=[table(["seconds", *SIDES.values()], rows)],
            measured=bullets(
                "Command: `python -m benchmarks.bulk.profile`.",
                f"Hardware, {describe_machine(result)}.",
                "The audit of the built-in example, sampled a hundred times a second; seconds by "
                "kind of the work at each sample.",
                f"Before: commit {result['commit'][:8]}, with an identical study file.",
                "All rows and a full scan: without `[curvature] rows`, and with `[candidates] "
                'kind = "full"`. The other two columns approximate its result.',
            ),
        )
    ]


def _row(name: str, seconds: list[float]) -> list[str]:
    return [name, *(f"{value:.1f}" for value in seconds)]
