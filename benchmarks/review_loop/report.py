"""Page docs/results/review-loop.md, written from the kept result."""

from benchmarks.page import ResultPage, bullets, describe_machine, table
from benchmarks.review_loop.rounds import shorten

SHOWN = ("100", "300", "600", "1000")
"""Numbers of verdicts in the table of accuracies."""
PAGE, DROPPED = "fastif, the page in rounds", "every wrong row dropped"
BASELINES = ("given labels", DROPPED, "every wrong row corrected")


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the whole review loop."""
    runs, curves = result["runs"], result["curves"]
    return [
        ResultPage(
            name="review-loop",
            title="The whole review loop",
            question=(
                f"What do {result['reviewed']} decisions in the report page gain, from the first "
                "audit to the second?"
            ),
            answer=_answer(result),
            headline=(
                f"{runs['test rows']['before']:.1%} to {runs['test rows']['after']:.1%} after "
                f"{result['reviewed']} verdicts; {_needed(curves['orders'][PAGE]['needed'])} "
                f"verdicts are worth as much as dropping all {result['wrong']:,} wrong rows"
            ),
            tables=[
                _run_table(runs),
                _round_lines(result),
                _order_table(result),
                *_list_leads(result),
                _baseline_table(curves["baselines"]),
                _step_table(result["steps"]),
            ],
            measured=bullets(*_describe(result)),
        )
    ]


def _answer(result: dict) -> str:
    test, queries = result["runs"]["test rows"], result["runs"]["queries"]
    orders = result["curves"]["orders"]
    needed = "; ".join(f"{name}: {_needed(entry['needed'])}" for name, entry in orders.items())
    return (
        f"The accuracy of the study's model rises from {test['before']:.1%} to "
        f"{test['after']:.1%} on {test['rows']:,} test rows ({_points(test)}), and from "
        f"{queries['before']:.1%} to {queries['after']:.1%} on the {queries['rows']:,} queries "
        f'({_points(queries)}). Verdicts needed for the accuracy of "{DROPPED}": {needed}.'
    )


def _points(entry: dict) -> str:
    """Format a difference in points with its 95 % interval."""
    change = 100 * (entry["after"] - entry["before"])
    return f"{change:+.1f} points, {100 * entry['low']:+.1f} to {100 * entry['high']:+.1f}"


def _format_accuracy(entry: dict) -> str:
    return f"{entry['value']:.1%}, {_gain(entry['gain'])}"


def _gain(entry: dict) -> str:
    low, high = (100 * entry[key] for key in ("low", "high"))
    return f"{100 * entry['value']:+.1f} ({low:+.1f} to {high:+.1f})"


def _needed(entry: dict) -> str:
    """Format verdicts needed with their interval; None is never."""
    value, low, high = (_count(entry[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _count(number: float | None) -> str:
    return "not reached" if number is None else f"{number:,.0f}"


def _run_table(runs: dict) -> str:
    rows = [
        [
            f"{entry['rows']:,} {name}",
            f"{entry['before']:.1%}",
            f"{entry['after']:.1%}",
            _points(entry),
            f"{entry['broken']:,}",
            f"{entry['repaired']:,}",
            f"{entry['p']:.1g}",
        ]
        for name, entry in runs.items()
    ]
    head = ["", "first run", "second run", "change (95 %)", "broken", "repaired", "p (McNemar)"]
    return table(head, rows)


def _round_lines(result: dict) -> str:
    rounds = "; ".join(
        f"{part['wrong']} of {part['decisions']}" for part in result["rounds_reviewed"]
    )
    corrected = result["corrected"]
    return (
        f"Of {result['rows']:,} training labels {result['wrong']:,} are wrong. Wrong labels among "
        f"the decisions, by round: {rounds}. The corrected table has {corrected['rows']:,} rows, "
        f"{corrected['changed']:,} of them with another label, and {corrected['wrong']:,} labels "
        "that are still wrong."
    )


def _order_table(result: dict) -> str:
    orders, errors = result["curves"]["orders"], result["errors"]
    shown = [count for count in SHOWN if all(count in errors[name] for name in orders)]
    rows = [
        [
            name,
            *(_format_accuracy(entry["accuracy"][count]) for count in shown),
            _needed(entry["needed"]),
            *(f"{errors[name][count]:,}" for count in shown if count == "300"),
        ]
        for name, entry in orders.items()
    ]
    head = ["order", *(f"{int(count):,} verdicts" for count in shown), "verdicts needed"]
    return table(head + ["errors in the first 300"] * ("300" in shown), rows)


def _list_leads(result: dict) -> list[str]:
    """Compare the order of the page with the others after as many verdicts as were given."""
    if not result["leads"]:
        return []
    leads = "; ".join(f"{_gain(entry)} than {name}" for name, entry in result["leads"].items())
    return [
        f"Accuracy of the page's order after {result['verdicts']} verdicts, in points more (95 %): "
        f"{leads}."
    ]


def _baseline_table(baselines: dict) -> str:
    rows = [
        [name, f"{baselines[name]['accuracy']:.1%}", _gain(baselines[name]["gain"])]
        for name in BASELINES
    ]
    return table(["trained on", "accuracy", "gain, points (95 %)"], rows)


def _step_table(steps: list[dict]) -> str:
    rows = [
        [
            f"`{shorten(step['command'])}`" if "processor" in step else step["command"],
            f"{step['seconds']:.0f}",
            f"{step['processor']:.0f}" if "processor" in step else "",
        ]
        for step in steps
    ]
    total = sum(step["seconds"] for step in steps)
    used = sum(step.get("processor", 0) for step in steps)
    rows.append(["all", f"{total:,.0f}", f"{used:,.0f}"])
    return table(["step", "seconds", "processor seconds"], rows)


def _describe(result: dict) -> list[str]:
    note = f" {result['note']}." if result.get("note") else ""
    return [
        f"Command: `python -m benchmarks.review_loop --rows {result['rows']} --queries "
        f"{result['queries']}` (`make bench-loop` with the defaults), with the extra `browser` and "
        "Chromium.",
        f"Hardware, {describe_machine(result)}.{note}",
        f"Data: the first {result['rows']:,} annotated rows of NoisyAG-News with the labels of the "
        f"annotators; {result['queries']:,} queries and {result['tested']:,} further rows of its "
        "test part.",
        "Model: all-MiniLM-L6-v2 with a frozen encoder; pooler and classifier are trained (AdamW, "
        "2 epochs, batches of 32, learning rate 3e-4, seed 0) and attributed.",
        f"All steps are commands of the product. In each of {result['rounds']} rounds the report "
        "is opened in Chromium, the decisions are given by keys in the order of the page, its "
        "export is imported, and the labels are searched again.",
        "Right labels of the training rows are the verdicts, and score the result: no training, "
        "search or order reads them. The labels of the queries are right; the search does not "
        "learn from them (`trusted` is not set).",
        "Change between the runs: adjusted Wald interval for paired data, and McNemar's exact "
        "test. It is of one training each.",
        f"Orders: pooler and classifier are trained from {result['seeds']} seeds by the recipe of "
        "the study, on the outputs of the frozen encoder, with the labels of the first rows of an "
        "order corrected. Accuracies are means over the seeds on the further test rows. Intervals "
        "are 95 % bootstrap intervals over test rows, common to all orders; they do not contain "
        "the choice of the training rows and seeds.",
        '"The page in rounds": the decisions of the page, then the last search. "One search": the '
        "first search alone. A row without a right class does not occur.",
        "Orders of cleanlab: its label quality scores on out-of-fold probabilities of a logistic "
        "regression on the mean outputs of the encoder, in five folds. Random: one random order.",
        "Verdicts needed: where the accuracy first reaches that of the head trained without the "
        "wrong rows, interpolated between the measured numbers of verdicts.",
    ]
