"""The section of docs/results.md on fidelity, written from its JSON."""

from benchmarks.fidelity.tables import convex_table, cost_table
from benchmarks.page import describe_machine


def section(result: dict) -> str:
    """The section as Markdown."""
    parts = [
        "## Fidelity: do effects foretell retraining?",
        f"`python -m benchmarks.fidelity`, {describe_machine(result)}. LDS: Spearman correlation"
        " of summed effects with the margins of models really trained on random halves, mean over"
        " queries, with its standard error. Every method explains the same weights and rows, but"
        " for those that are named by a part of the training: these look from a checkpoint.",
    ]
    parts += [result["note"]] if "note" in result else []
    for known in result.get("workloads", {}).values():
        parts += [_head(known), _ours(known), *_peers(known), _choices(known), _curve(known)]
    if "convex" in result:
        parts += ["### A convex model: every solver against the dense inverse"]
        parts += [convex_table(result["convex"])]
    if "cost" in result:
        parts += ["### What a solve costs", cost_table(result["cost"])]
    if "cost-small" in result:
        parts += [cost_table(result["cost-small"])]
    return "\n\n".join(parts) + "\n"


def _head(known: dict) -> str:
    return (
        f"### {known['title']}\n\n{known['rows']:,} training rows, {known['queries']} queries, "
        f"{known['parameters']:,} attributed parameters; {known['subsets']} halves x "
        f"{known['seeds']} seeds trained again."
    )


def _ours(known: dict) -> str:
    rows = ["| method | λ | LDS | residual | cosine with gradient | CPU seconds |"]
    rows += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, method in sorted(known["methods"].items(), key=_best_first):
        seconds = sum(method["seconds"].values()) if method["seconds"] else None
        cells = [
            name,
            _number(method["damping"]) if method["damping"] != float("inf") else "",
            f"{method['lds']:.3f} ± {method['error']:.3f}",
            _number(method["residual"]),
            _number(method["cosine"], ".4f"),
            _number(seconds, ".0f"),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _peers(known: dict) -> list[str]:
    if not known.get("peers"):
        return []
    rows = ["| peer | version | LDS | exact is above by (95 %) | CPU seconds | peak MB |"]
    rows += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for name, peer in sorted(known["peers"].items(), key=_best_first):
        if "lds" not in peer:
            rows.append(f"| {name} | {peer['version'] or ''} | {_short(peer['failure'])} | | | |")
            continue
        more = known["margins_of_error"][name]
        rows.append(
            f"| {name} | {peer['version']} | {peer['lds']:.3f} ± {peer['error']:.3f} "
            f"| {more['more']:+.3f} ± {more['half_width']:.3f} | {peer['cpu_seconds']:.0f} "
            f"| {peer['peak_mb']:,.0f} |"
        )
    return ["\n".join(rows)]


def _best_first(named: tuple[str, dict]) -> tuple[float, str]:
    """Those without a score last."""
    name, record = named
    return -record.get("lds", -1.0), name


def _choices(known: dict) -> str:
    best = max(point["lds"] for point in known["curve"])
    auto, rules = known["auto"], known["rules"]
    at = known["methods"]["exact"]["lds"]
    others = "; ".join(
        f"{name} λ = {_number(rule['damping'])}, LDS {rule['lds']:.3f}"
        for name, rule in rules.items()
    )
    return (
        f'`damping = "auto"` chose λ = {_number(auto["exact"]["damping"])} for the exact matrix '
        f"(LDS {at:.3f}, {at / best:.1%} of the best of the curve, {best:.3f}) and "
        f"{_number(auto['EK-FAC']['damping'])} for EK-FAC. Rules that train nothing: {others}."
    )


def _curve(known: dict) -> str:
    points = known["curve"]
    head = " | ".join(_number(point["damping"]) for point in points)
    line = " | ".join(f"{point['lds']:.3f}" for point in points)
    bars = " | ".join("---:" for _ in points)
    return f"| λ (50: the paper's) | {head} |\n| --- | {bars} |\n| LDS, exact | {line} |"


def _number(value: float | None, form: str = ".2g") -> str:
    return "" if value is None else format(value, form)


def _short(reason: str) -> str:
    return reason.splitlines()[-1][:120]
