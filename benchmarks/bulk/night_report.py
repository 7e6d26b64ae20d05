"""Page docs/results/audit.md, written from the kept result."""

from benchmarks.page import ResultPage, bullets, describe_machine, table

GIGABYTE, MOST = 2**30, 4.0


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on whole audits, with forecasts and measurements."""
    audits = result["audits"]
    first = next(iter(audits.values()))
    peak = first["outcome"]["memory"][1] / GIGABYTE
    sizes = f"{result['queries']:,} queries against {result['rows']:,} rows"
    headline = f"{first['wall']:,.0f} s, {peak:.2f} GB for {sizes}"
    parts = [_table(result), _stages(audits)]
    parts += [line for audit in audits.values() if audit["method"] for line in _method(audit)]
    return [
        ResultPage(
            name="audit",
            title="A whole audit",
            question="How long does an audit of 2,000 queries take, and how much memory?",
            answer=(
                f"With sketch scores an audit of {sizes} takes {first['wall']:,.0f} s on two cores "
                f"with a peak memory of {peak:.2f} GB."
            ),
            headline=headline,
            tables=parts,
            measured=bullets(
                "Command: `python -m benchmarks.bulk.night`.",
                f"Hardware, {describe_machine(result)}.",
                f"Data and model: `fastif audit` of {sizes} of MultiNLI (MiniLM, layer 5 + pooler "
                "+ classifier).",
                "Settings: `memory_gb = 4`, curvature of 1,000 rows, λ = 0.1, dual solver.",
                "Wall time: from the command to the summary, on a new store.",
                "Memory: the process of the audit alone. The temporary server of Prefect takes "
                "about 0.2 GB in addition.",
            ),
        )
    ]


def _table(result: dict) -> str:
    head = ["candidates", "wall", "a query", "k", "R@10", "R@100", "peak memory"]
    head += ["seconds, forecast", "seconds, measured", "written"]
    rows = []
    for name, audit in result["audits"].items():
        predicted, measured = (
            sum(pair[i] for pair in audit["outcome"]["seconds"].values()) for i in (0, 1)
        )
        peak = audit["outcome"]["memory"][1] / GIGABYTE
        rows.append(
            [
                name,
                f"{audit['wall']:,.0f} s",
                f"{1000 * audit['wall'] / result['queries']:,.0f} ms",
                f"{audit['chosen_k'] or ''}",
                *(_recall(audit["recall"], at) for at in (10, 100)),
                f"{peak:.2f} GB" + (" (**above 4**)" if peak > MOST else ""),
                f"{predicted:,.0f} s",
                f"{measured:,.0f} s",
                f"{audit['outcome']['disk'][1] / 1e6:,.0f} MB",
            ]
        )
    return table(head, rows)


def _recall(entries: list[dict], at: int) -> str:
    """Return the recall over all queries and methods, with its confidence interval."""
    for entry in entries:
        if entry["at"] == at and not any(entry.get(key) for key in ("method", "label", "slice")):
            return f"{entry['share']:.2f} ({entry['low']:.2f} - {entry['high']:.2f})"
    return ""


def _stages(audits: dict[str, dict]) -> str:
    """Return forecast and measured seconds of each stage."""
    names = dict.fromkeys(name for audit in audits.values() for name in audit["outcome"]["seconds"])
    rows = []
    for name in names:
        pairs = (audit["outcome"]["seconds"].get(name, (0, 0)) for audit in audits.values())
        rows.append(
            [name, *(f"{predicted:,.0f}, {measured:,.0f}" for predicted, measured in pairs)]
        )
    return table(["stage: seconds, forecast and measured", *audits], rows)


def _method(audit: dict) -> list[str]:
    method = audit["method"]
    offers = bullets(*(f"{name}: {estimate}" for name, estimate in method["offers"].items()))
    return [f'Choice of `kind = "auto"`: {method["name"]}. {method["reason"]}', offers]
