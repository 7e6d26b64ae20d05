"""Pages docs/results/fidelity-*.md and solver-*.md, written from the kept result."""

from benchmarks.fidelity.overview import (
    CEILING,
    LDS,
    NAMES,
    SHARE,
    best_peer,
    format_ceiling,
    format_share,
    overview_page,
)
from benchmarks.fidelity.tables import convex_page, cost_pages
from benchmarks.fidelity.through_page import through_training_page
from benchmarks.page import ResultPage, bullets, describe_machine, join_parts, table


def build_pages(result: dict) -> list[ResultPage]:
    """Return the overview, and a page for each workload and on the solvers."""
    workloads = result.get("workloads", {})
    pages = [overview_page(workloads)] if workloads else []
    pages += [_workload_page(name, known) for name, known in workloads.items()]
    if "convex" in result:
        pages += [convex_page(result["convex"], describe_machine(result["convex"]))]
    if "through-training" in result:
        pages += [through_training_page(result["through-training"])]
    costs = [result[name] for name in ("cost", "cost-small") if name in result]
    return pages + (cost_pages(costs, describe_machine(costs[0])) if costs else [])


def _workload_page(name: str, known: dict) -> ResultPage:
    file, words = NAMES[name]
    exact = known["methods"]["exact"]
    best_name, best = max(known["methods"].items(), key=lambda method: method[1]["lds"])
    peer = best_peer(known)
    chosen = known.get("chosen")
    answer = f"The product chooses an estimator with LDS {chosen['lds']:.3f}. " if chosen else ""
    answer += (
        f'The exact solve at the damping that `damping = "auto"` chose has LDS {exact["lds"]:.3f}'
        f" ± {exact['error']:.3f}."
    )
    if best_name != "exact":
        answer += f' The best method is "{best_name}": {best["lds"]:.3f} ± {best["error"]:.3f}.'
    if peer:
        more = known["margins_of_error"][peer]
        answer += (
            f" It is {more['more']:.3f} ± {more['half_width']:.3f} above the best other package "
            f"({peer}, {known['peers'][peer]['lds']:.3f})."
        ).replace("It is", "The exact solve is" if best_name != "exact" else "It is")
    return ResultPage(
        name=file,
        title=f"Agreement with retraining: {words}",
        question=f"How well do effects predict retraining on {known['title'].partition(',')[0]}?",
        answer=answer,
        headline=f"LDS {exact['lds']:.3f} (exact); best {best['lds']:.3f} ({best_name})",
        tables=(
            *_chosen(known),
            format_ceiling(known),
            _methods(known),
            *_peers(known),
            _damping(known),
            _curve(known),
        ),
        measured=_describe(known),
        tried=_tried(known),
    )


def _describe(known: dict) -> str:
    notes = [f"Note: {known['note']}"] if "note" in known else []
    return bullets(
        "Command: `python -m benchmarks.fidelity`.",
        f"Hardware: {describe_machine(known)}.",
        f"Data and model: {known['title']}; {known['rows']:,} training rows, {known['queries']} "
        f"queries, {known['parameters']:,} attributed parameters.",
        f"Source: {known['source']}. Licence: {known['licence']}.",
        f"Retraining: {known['subsets']} random halves x {known['seeds']} seeds"
        f"{' in each of two sets' if known.get('ceiling') else ''}.",
        LDS,
        CEILING,
        "All methods explain the same weights and rows. Methods named by a part of the training "
        "use a checkpoint of it.",
        *notes,
    )


def _chosen(known: dict) -> list[str]:
    """Return the section on the estimator that the product chose; empty if it was not measured."""
    chosen = known.get("chosen")
    if not chosen:
        return []
    share = format_share(known, chosen["lds"])
    ceiling = f", {share} of the ceiling" if share else ""
    return [
        f"**Chosen by the product.** {chosen['name']}: LDS {chosen['lds']:.3f} ± "
        f"{chosen['error']:.3f}{ceiling}. {chosen['reason']}"
    ]


def _methods(known: dict) -> str:
    rows = []
    for name, method in sorted(known["methods"].items(), key=_best_first):
        seconds = sum(method["seconds"].values()) if method["seconds"] else None
        rows.append(
            [
                name,
                _number(method["damping"]) if method["damping"] != float("inf") else "",
                f"{method['lds']:.3f} ± {method['error']:.3f}",
                format_share(known, method["lds"]),
                _number(method["residual"]),
                _number(method["cosine"], ".4f"),
                _number(seconds, ".0f"),
            ]
        )
    head = ["method", "λ", "LDS", SHARE, "residual", "cosine with gradient", "CPU seconds"]
    return table(head, rows)


def _peers(known: dict) -> list[str]:
    rows = []
    for name, peer in sorted(known.get("peers", {}).items(), key=_best_first):
        if "lds" in peer:
            more = known["margins_of_error"][name]
            rows.append(
                [
                    name,
                    peer["version"],
                    f"{peer['lds']:.3f} ± {peer['error']:.3f}",
                    format_share(known, peer["lds"]),
                    f"{more['more']:+.3f} ± {more['half_width']:.3f}",
                    f"{peer['cpu_seconds']:.0f}",
                    f"{peer['peak_mb']:,.0f}",
                ]
            )
    head = [
        "other package", "version", "LDS", SHARE, "exact - package (95 %)", "CPU seconds", "peak MB"
    ]  # fmt: skip
    return [table(head, rows)] if rows else []


def _tried(known: dict) -> str:
    """Return the settings of other packages that gave no score, with the reasons."""
    failed = {name: peer for name, peer in known.get("peers", {}).items() if "lds" not in peer}
    rows = [
        [name, peer["version"] or "", _short(peer["failure"])]
        for name, peer in sorted(failed.items(), key=_best_first)
    ]
    rules = bullets(
        *(
            f"{name}: λ = {_number(rule['damping'])}, LDS {rule['lds']:.3f}"
            for name, rule in known["rules"].items()
        )
    )
    parts = [f"Rules for λ that retrain nothing:\n\n{rules}"]
    if rows:
        head = ["other package, without a result", "version", "reason"]
        parts += [table(head, rows, left=3)]
    return join_parts(*parts)


def _best_first(named: tuple[str, dict]) -> tuple[float, str]:
    """Return the sort key: descending LDS, entries without a score last, then by name."""
    name, record = named
    return -record.get("lds", -1.0), name


def _damping(known: dict) -> str:
    best = max(point["lds"] for point in known["curve"])
    auto, exact = known["auto"], known["methods"]["exact"]["lds"]
    return (
        f'`damping = "auto"` chose λ = {_number(auto["exact"]["damping"])} for the exact matrix '
        f"(LDS {exact:.3f}, {exact / best:.1%} of the best of the curve below, {best:.3f}) and "
        f"λ = {_number(auto['EK-FAC']['damping'])} for EK-FAC."
    )


def _curve(known: dict) -> str:
    points = known["curve"]
    head = ["λ (50 is the paper's)", *(_number(point["damping"]) for point in points)]
    return table(head, [["LDS, exact", *(f"{point['lds']:.3f}" for point in points)]])


def _number(value: float | None, form: str = ".2g") -> str:
    return "" if value is None else format(value, form)


def _short(reason: str) -> str:
    return reason.splitlines()[-1][:240]
