"""Page docs/results/fidelity-through-training.md."""

from benchmarks.page import ResultPage, bullets, describe_machine, format_goal, table

THROUGH = "through the training"
HESSIAN = "through the training, Hessian"


def through_training_page(known: dict) -> ResultPage:
    """Return the page on effects through the training, same seed and order."""
    values = {share: part["methods"][THROUGH] for share, part in known["shares"].items()}
    reached = ", ".join(
        f"{value['spearman']:.3f} with {float(share):.0%} of the rows left out "
        f"({format_goal(value['spearman'] >= known['goal'])})"
        for share, value in values.items()
    ).replace("%", " %")
    multiple = known["seconds"][THROUGH] / known["training_seconds"]
    return ResultPage(
        name="fidelity-through-training",
        title="Effects through the training, same seed and order",
        question="How well does the reverse sweep predict retraining with the same seed and order?",
        answer=(
            f"Spearman's correlation is {reached}; the goal is {known['goal']:g}. The sweep takes "
            f"{multiple:.1f} times the CPU time of the training for {known['queries']} queries. "
            f"With the Hessian it is {_hessian(known)}."
        ),
        headline=f"Spearman {reached.replace('**', '')}; {multiple:.1f} times one training",
        tables=(_table(known),),
        measured=bullets(
            "Command: `python -m benchmarks.fidelity through-training`.",
            f"Hardware: {describe_machine(known)}.",
            f"Data and model: {known['title']}; {known['rows']:,} training rows, "
            f"{known['queries']} queries, {known['steps']} steps of AdamW. The sweep has the "
            "Gauss-Newton matrix and followed second moments, unless the row says otherwise.",
            "Retraining: the recorded batches, learning rates and initial weights, with weight 0 "
            "of the rows that are left out; the divisor of a batch stays its size. "
            + "; ".join(
                f"{part['retrainings']} retrainings without {float(share):.0%} of the rows".replace(
                    "%", " %"
                )
                for share, part in known["shares"].items()
            )
            + ".",
            "Spearman's correlation over the retrainings of the summed effects of the rows left "
            "out with the margin of the query; mean over the queries ± its standard error.",
            "CPU time: for all queries of the row in one sweep, as a multiple of the CPU "
            f"time of the recorded training ({known['training_seconds']:.0f} s), with the frozen "
            "layers computed before both. Other programs ran at the same time, so wall times are "
            "not given.",
            f"The exact solve at the end has λ = {known['damping']:g}, which "
            '`damping = "auto"` selects on this workload.',
        ),
    )


def _hessian(known: dict) -> str:
    """Return the correlations with the Hessian, and its cost."""
    values = [
        f"{part['methods'][HESSIAN]['spearman']:.3f} "
        f"({format_goal(part['methods'][HESSIAN]['spearman'] >= known['goal'])})"
        for part in known["shares"].values()
    ]
    multiple = known["seconds"][HESSIAN] / known["training_seconds"]
    return f"{' and '.join(values)}, at {multiple:.0f} times for {known['first']} queries"


def _table(known: dict) -> str:
    shares, rows = known["shares"], []
    for name in next(iter(shares.values()))["methods"]:
        methods = [part["methods"][name] for part in shares.values()]
        multiple = known["seconds"][name] / known["training_seconds"]
        rows.append(
            [
                name,
                f"{methods[0]['queries']}",
                *(f"{method['spearman']:.3f} ± {method['error']:.3f}" for method in methods),
                *(f"{method['first']:.3f}" for method in methods),
                f"{multiple:.1f}",
            ]
        )
    left_out = [f"{float(share):.0%} left out".replace("%", " %") for share in shares]
    few = [f"{words}, first {known['first']}" for words in left_out]
    return table(["method", "queries", *left_out, *few, "CPU time, trainings"], rows)
