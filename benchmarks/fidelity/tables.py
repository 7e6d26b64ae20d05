"""Pages on the accuracy and the cost of the solvers: docs/results/solver-*.md."""

from collections.abc import Sequence

from benchmarks.page import ResultPage, bullets, format_goal, join_parts, table

PRECONDITIONERS = {
    "ekfac": "EK-FAC",
    "eigen": "eigenvectors",
    "drawn": "sampled factor rows",
}
"""Words for a preconditioner of conjugate gradients, by its key in the result."""


def convex_page(result: dict, machine: str) -> ResultPage:
    """Return the page on the accuracy of each solver against the dense inverse and retraining."""
    problem, exact = result["problem"], result["leave_one_out"]
    solvers = {line["name"]: line for line in result["solvers"]}
    dual = next(line for name, line in solvers.items() if name.startswith("Dual, rank"))
    paper = solvers["LiSSA, the paper's setting"]
    head = [
        "solver", "relative error of s_test, median (max)", "residual, median (max)",
        f"top {problem['top']} in common", "removal: Pearson", "slope", "factor", "solve, a query",
    ]  # fmt: skip
    inverse = ["dense inverse", "0", "0", "100 %", _mean(exact, "pearson"), _mean(exact, "slope")]
    rows = [[*inverse, "", ""], *(_convex_row(line) for line in result["solvers"])]
    return ResultPage(
        name="solver-accuracy",
        title="Accuracy of the solvers on a convex model",
        question="How close is each solver to the dense inverse and to retraining without a row?",
        answer=(
            f"The median relative error of {dual['name']} is "
            f"{_short(dual['relative_error']['median'])}. With LiSSA at the paper's setting it is "
            f"{_short(paper['relative_error']['median'])}, and {_share(paper['overlap'])} of its "
            f"top {problem['top']} rows are right."
        ),
        headline=(
            f"Dual: error {_short(dual['relative_error']['median'])}, Pearson "
            f"{_mean(dual['leave_one_out'], 'pearson')} with leave-one-out retraining"
        ),
        tables=(table(head, rows),),
        measured=bullets(
            "Command: `python -m benchmarks.fidelity convex`.",
            f"Hardware: {machine}.",
            "Problem: softmax regression on the digits 1 and 7 of MNIST, trained to convergence; "
            f"{problem['train_rows']:,} training rows, {problem['parameters']:,} parameters in "
            f"double precision, {problem['queries']} queries, λ = {problem['damping']:g}.",
            f"Removal: {len(exact['rows'])} rows were removed, each alone, and the model retrained "
            "without it. Pearson's correlation and slope (1 is right) are means over the queries; "
            f"the minimum correlation of the dense inverse is "
            f"{_digits(exact['pearson']['least'], 4)}.",
        ),
    )


def cost_pages(results: Sequence[dict], machine: str) -> list[ResultPage]:
    """Return the page on what each solver costs to factor and to solve, and its residual."""
    problem, solvers = results[0]["problem"], {line["name"]: line for line in results[0]["solvers"]}
    dual, plain = solvers["Dual"], solvers["CG"]
    return [
        ResultPage(
            name="solver-cost",
            title="Cost of the solvers",
            question="What do a factorization and a solve cost with each solver?",
            answer=(
                f"`Dual` takes {_time(dual['solve_seconds_per_query'])} a query after a "
                f"factorization of {_time(dual['factor_seconds'])}; CG without a preconditioner "
                f"takes {_time(plain['solve_seconds_per_query'])} a query."
            ),
            headline=f"Dual: {_time(dual['solve_seconds_per_query'])} a query",
            tables=[part for result in results for part in (_cost_table(result), _goals(result))],
            measured=bullets(
                "Command: `python -m benchmarks.fidelity cost`.",
                f"Hardware: {machine}; {problem['threads']} threads.",
                "Data and model: SST-2, MiniLM layer 5 + pooler + classifier; "
                f"{problem['parameters']:,} parameters, {problem['queries']} queries together, "
                f"λ = {problem['damping']:g}. {problem['note']}",
                f"Tolerance of all solvers: a relative residual of {problem['tolerance']:g}.",
                "Memory: the peak of the step beyond what the process held before it.",
            ),
        )
    ]


def _cost_table(result: dict) -> str:
    head = [
        "solver", "curvature rows", "factor", "its memory", "solve, a query", "its memory",
        "sweeps, all (median)", "residual, median (max)", "converged",
    ]  # fmt: skip
    return table(
        head, [_cost_row(line, result["problem"]["queries"]) for line in result["solvers"]]
    )


def _goals(result: dict) -> str:
    goals = result["goals"]
    alone = goals["ekfac_alone"]
    return join_parts(
        "Goals:",
        bullets(
            *(_sweeps_goal(goals[kind], name) for kind, name in PRECONDITIONERS.items()),
            f"EK-FAC alone under {alone['goal']} ms a query with {alone['threads']} threads: "
            f"{alone['milliseconds_per_query']:.2g} ms, {format_goal(alone['reached'])}.",
        ),
    )


def _sweeps_goal(goal: dict, name: str) -> str:
    least = "at least " if goal["plain_is_a_lower_bound"] else ""
    return (
        f"CG preconditioned with {name}, at most {goal['goal']['sweeps']} sweeps and "
        f"{goal['goal']['ratio']} times fewer than plain CG: {goal['sweeps']['all']} "
        f"(median query {goal['sweeps']['median']}) against {least}{goal['plain_sweeps']['all']} "
        f"({goal['plain_sweeps']['median']}), {least}{goal['ratio']:.1f} times, "
        f"{format_goal(goal['reached'])}."
    )


def _convex_row(line: dict) -> list[str]:
    return [
        line["name"],
        _pair(line["relative_error"]),
        _pair(line["residual"]),
        _share(line["overlap"]),
        _mean(line["leave_one_out"], "pearson"),
        _mean(line["leave_one_out"], "slope"),
        _time(line["factor_seconds"]),
        _time(line["solve_seconds_per_query"]),
    ]


def _cost_row(line: dict, queries: int) -> list[str]:
    return [
        line["name"],
        f"{line['curvature_rows']:,}",
        _time(line["factor_seconds"]),
        _memory(line["factor_megabytes"]),
        _time(line["solve_seconds_per_query"]),
        _memory(line["solve_megabytes"]),
        f"{line['sweeps']['all']:.4g} ({line['sweeps']['median']:.4g})",
        _pair(line["residual"]),
        f"{line['reached']} of {queries}",
    ]


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}".replace("%", " %")


def _pair(values: dict) -> str:
    return f"{_short(values['median'])} ({_short(values['most'])})"


def _mean(values: dict, name: str) -> str:
    return _digits(values[name]["mean"], 4 if name == "pearson" else 3)


def _digits(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _short(value: float | None) -> str:
    """Return two digits; None, a value that is not finite, as "diverged"."""
    return "diverged" if value is None else f"{value:.2g}"


def _time(seconds: float) -> str:
    if seconds >= 0.1:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.2g} ms" if seconds >= 1e-4 else "0"


def _memory(megabytes: float | None) -> str:
    return "not known" if megabytes is None else f"{megabytes:,.0f} MB"
