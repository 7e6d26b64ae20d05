"""Page of influence for targets beyond one class a row."""

from benchmarks.page import ResultPage, bullets, describe_machine, table

NAME = "targets"


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    subjects = result["subjects"]
    scores = [{score["name"]: score for score in subject["scores"]} for subject in subjects]
    ours = {
        is_network: [
            score["influence"]["lds"]
            for subject, score in zip(subjects, scores, strict=True)
            if ("network" in subject["target"]) == is_network
        ]
        for is_network in (False, True)
    }
    ahead = sum(score["gradient product"]["behind_low"] > 0 for score in scores)
    rows = [
        [
            subject["data"],
            subject["target"],
            f"{subject['parameters']:,}",
            *(_format_score(score[name]) for name in ("influence", "gradient product")),
        ]
        for subject, score in zip(subjects, scores, strict=True)
    ]
    head = ("data", "target and loss", "parameters", "LDS of influence", "LDS of gradient product")
    check = result["check"]
    right, alarms, wrong, named = (
        sum(entry[key] for entry in check) for key in ("right", "alarms", "wrong", "named")
    )
    return [
        ResultPage(
            NAME,
            "Targets beyond one class a row",
            "Do effects predict retraining where targets are numbers, orders, several labels, soft "
            "labels or weighted rows?",
            f"LDS {_format_range(ours[False])} on {len(ours[False])} linear models, and "
            f"{_format_range(ours[True])} on {len(ours[True])} small networks, not convex; "
            "influence is ahead of the gradient product, by the 95 % interval of the difference, "
            f"on {ahead} of all {len(subjects)}. The check of the stated loss reported another loss "
            f"for {alarms} of {right} right statements, and for {named} of {wrong} wrong ones.",
            f"LDS {_format_range(ours[False])} on linear models; {alarms} false alarms of {right} "
            "on the loss",
            [table(head, rows, 2), _build_check_table(check)],
            bullets(
                f"LDS: Spearman's correlation over {result['halves']} models, trained to "
                "convergence on random halves, of minus the query's loss with the sum of the "
                "effects of the half; mean over the queries, with 95 % intervals by the bootstrap "
                f"over halves and queries. L2 penalty {result['penalty']:g}.",
                "Linear models of 64 principal components of MiniLM embeddings: Amazon reviews, "
                "with stars as number, order or class, and GoEmotions with the six most frequent "
                "emotions but neutral; "
                "linear models and networks of tanh units on the diabetes table and the digits of "
                "scikit-learn. Soft labels and row weights are made, not collected.",
                "Influence by a direct solve with the Gauss-Newton matrix; that of focal losses "
                "has the positive part of their curvature.",
                "Check of the stated loss: unequal classes of the reviews; cross-entropy, label "
                "smoothing of 0.1, balanced class weights and focal loss, each as true and as "
                "stated loss; converged models have an L2 penalty, the others AdamW and no "
                "convergence.",
                *result["skipped"],
                describe_machine(result),
                "`python -m benchmarks.targets --data FOLDER --emotions FOLDER`",
            ),
        )
    ]


def _format_range(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _format_score(score: dict) -> str:
    return f"{score['lds']:.2f} ({score['low']:.2f} to {score['high']:.2f})"


def _build_check_table(check: list[dict]) -> str:
    rows = [
        [
            entry["way"] if entry["way"] == "converged" else f"AdamW, {entry['way']} epochs",
            f"network of {entry['hidden']} units" if entry["hidden"] else "linear",
            f"{entry['alarms']} of {entry['right']}",
            f"{entry['named']} of {entry['wrong']}",
        ]
        for entry in check
    ]
    head = ("training", "model", "right loss, another reported", "wrong loss, another reported")
    return table(head, rows, 2)
