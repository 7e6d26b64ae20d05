"""The convex problem and the costs of solvers as Markdown, for docs/results.md."""

from collections.abc import Sequence


def convex_table(result: dict) -> str:
    """One line a solver: how near it comes to the dense inverse and to training again."""
    problem, exact = result["problem"], result["leave_one_out"]
    head = [
        "solver", "error of s_test, median (most)", "residual, median (most)",
        f"top {problem['top']} in common", "removal: Pearson", "slope", "factor", "solve, a query",
    ]  # fmt: skip
    body = [_convex_line(line) for line in result["solvers"]]
    inverse = ["dense inverse", "0", "0", "100 %", _mean(exact, "pearson"), _mean(exact, "slope")]
    note = (
        f"{problem['train_rows']:,} training rows, {problem['parameters']:,} parameters in double "
        f"precision, {problem['queries']} queries, λ = {problem['damping']:g}; "
        f"{len(exact['rows'])} rows removed and the model trained again without each. Pearson's "
        "correlation and slope (1 is right): means over the queries; the least correlation of the "
        f"dense inverse is {_digits(exact['pearson']['least'], 4)}."
    )
    return _table(head, [[*inverse, "", ""], *body]) + "\n\n" + note + "\n"


def cost_table(result: dict) -> str:
    """One line a solver: what it costs to factor and to solve, and what residual it reached."""
    problem = result["problem"]
    head = [
        "solver", "curvature rows", "factor", "its memory", "solve, a query", "its memory",
        "sweeps, all (median)", "residual, median (most)", "reached",
    ]  # fmt: skip
    body = [_cost_line(line, problem["queries"]) for line in result["solvers"]]
    note = (
        f"{problem['parameters']:,} parameters, {problem['queries']} queries together, "
        f"λ = {problem['damping']:g}, {problem['threads']} threads; asked of every solver: a "
        f"residual of {problem['tolerance']:g}. {problem['note']} Memory is what the work took at "
        "its peak beyond what was held before."
    )
    return _table(head, body) + "\n\n" + note + "\n\n" + goal_lines(result["goals"])


def goal_lines(goals: dict) -> str:
    """A line for each goal, reached or not."""
    lines = [
        _sweeps_goal(goals[kind], name)
        for kind, name in (("ekfac", "EK-FAC"), ("eigen", "eigenpairs"), ("drawn", "drawn rows"))
    ]
    alone = goals["ekfac_alone"]
    lines.append(
        f"- EK-FAC alone under {alone['goal']} ms a query with {alone['threads']} threads: "
        f"{alone['milliseconds_per_query']:.2g} ms, {_verdict(alone)}."
    )
    return "\n".join(lines) + "\n"


def _sweeps_goal(goal: dict, name: str) -> str:
    least = "at least " if goal["plain_is_a_lower_bound"] else ""
    return (
        f"- CG with {name} before it, at most {goal['goal']['sweeps']} sweeps where plain CG takes "
        f"{goal['goal']['ratio']} times as many: {goal['sweeps']['all']} "
        f"(median query {goal['sweeps']['median']}) against {least}{goal['plain_sweeps']['all']} "
        f"({goal['plain_sweeps']['median']}), {least}{goal['ratio']:.1f} times, {_verdict(goal)}."
    )


def _convex_line(line: dict) -> list[str]:
    shared = line["overlap"]
    return [
        line["name"],
        _pair(line["relative_error"]),
        _pair(line["residual"]),
        "none" if shared is None else f"{shared:.1%}".replace("%", " %"),
        _mean(line["leave_one_out"], "pearson"),
        _mean(line["leave_one_out"], "slope"),
        _time(line["factor_seconds"]),
        _time(line["solve_seconds_per_query"]),
    ]


def _cost_line(line: dict, queries: int) -> list[str]:
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


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def _pair(values: dict) -> str:
    return f"{_short(values['median'])} ({_short(values['most'])})"


def _mean(values: dict, name: str) -> str:
    return _digits(values[name]["mean"], 4 if name == "pearson" else 3)


def _digits(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _short(value: float | None) -> str:
    """None stands for what is not finite: the solver gave up the row."""
    return "diverged" if value is None else f"{value:.2g}"


def _time(seconds: float) -> str:
    if seconds >= 0.1:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.2g} ms" if seconds >= 1e-4 else "0"


def _memory(megabytes: float | None) -> str:
    return "not known" if megabytes is None else f"{megabytes:,.0f} MB"


def _verdict(goal: dict) -> str:
    return "reached" if goal["reached"] else "**not reached**"
