"""The section of docs/results.md on whole audits, written from its JSON."""

from benchmarks.page import describe_machine

GIGABYTE, MOST = 2**30, 4.0


def section(result: dict) -> str:
    """The section as Markdown."""
    audits = result["audits"]
    head = (
        f"`python -m benchmarks.bulk.night`, {describe_machine(result)}. "
        f"`fastif audit` of "
        f"{result['queries']:,} queries against {result['rows']:,} MultiNLI pairs (MiniLM, layer 5 "
        "+ pooler + classifier), from the command to the summary, on a new store; "
        "`memory_gb = 4`, curvature of 1,000 rows, λ = 0.1, dual. Memory is the audit's own "
        "process; Prefect's temporary server takes about 0.2 GB beside it."
    )
    parts = [head, _table(result), _stages(audits)]
    parts += [line for audit in audits.values() if audit["method"] for line in _method(audit)]
    return "## A night of 2,000 queries\n\n" + "\n\n".join(parts) + "\n"


def _table(result: dict) -> str:
    rows = [
        "| candidates | wall | a query | k | R@10 | R@100 | peak memory | forecast | written |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, audit in result["audits"].items():
        predicted, measured = (
            sum(pair[i] for pair in audit["outcome"]["seconds"].values()) for i in (0, 1)
        )
        peak = audit["outcome"]["memory"][1] / GIGABYTE
        memory = f"{peak:.2f} GB" + (" (**above 4**)" if peak > MOST else "")
        ten, hundred = (_recall(audit["recall"], at) for at in (10, 100))
        rows.append(
            f"| {name} | {audit['wall']:,.0f} s | {1000 * audit['wall'] / result['queries']:,.0f} "
            f"ms | {audit['chosen_k'] or ''} | {ten} | {hundred} | {memory} "
            f"| {predicted:,.0f} s for {measured:,.0f} s | "
            f"{audit['outcome']['disk'][1] / 1e6:,.0f} MB |"
        )
    return "\n".join(rows)


def _recall(entries: list[dict], at: int) -> str:
    """Of all queries and methods together, with its interval."""
    for entry in entries:
        if entry["at"] == at and not any(entry.get(key) for key in ("method", "label", "slice")):
            return f"{entry['share']:.2f} ({entry['low']:.2f} - {entry['high']:.2f})"
    return ""


def _stages(audits: dict[str, dict]) -> str:
    """Forecast beside outcome, stage by stage."""
    names = dict.fromkeys(name for audit in audits.values() for name in audit["outcome"]["seconds"])
    rows = [
        f"| seconds, forecast and taken | {' | '.join(audits)} |",
        f"| --- |{' ---: |' * len(audits)}",
    ]
    for name in names:
        pairs = (audit["outcome"]["seconds"].get(name, (0, 0)) for audit in audits.values())
        cells = (f"{predicted:,.0f}, {measured:,.0f}" for predicted, measured in pairs)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _method(audit: dict) -> list[str]:
    method = audit["method"]
    offers = "\n".join(f"- {name}: {estimate}" for name, estimate in method["offers"].items())
    return [f'What `kind = "auto"` chose: {method["name"]}. {method["reason"]}', offers]
