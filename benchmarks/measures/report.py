"""Page of the agreement of measures that need no label with the loss."""

from benchmarks.page import ResultPage, bullets, describe_machine, format_goal, table

NAME = "measures"
GOAL = 0.95


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    entries = [entry for entries in result["subjects"].values() for entry in entries]
    right = {
        name: min(e["mean"] for e in entries if e["is_right"] and e["measure"] == name)
        for name in ("log-probability", "margin", "entropy")
    }
    default = right["log-probability"]
    rows = [
        [
            entry["title"],
            entry["measure"],
            "right" if entry["is_right"] else "wrong",
            f"{entry['queries']}",
            f"{entry['mean']:.3f}",
            f"{entry['least']:.3f}",
        ]
        for entry in entries
    ]
    head = ("model", "measure", "predictions", "queries", "Spearman, mean", "Spearman, least")
    return [
        ResultPage(
            NAME,
            "Queries without labels",
            "Do effects on measures that need no label rank the training rows as effects on the "
            "loss do?",
            "With the default, the log probability of the predicted label, the mean rank "
            f"correlation is {default:.3f} where the prediction is right; the goal of {GOAL} is "
            f"{format_goal(default >= GOAL)}. The margin and the entropy ask something else: they "
            f"have {right['margin']:.3f} and {right['entropy']:.3f} on the worse data set. Where "
            "the prediction is wrong, the question is another one: what supports the wrong label.",
            f"Spearman {default:.3f} by default where the prediction is right",
            [table(head, rows)],
            bullets(
                "Softmax regression on frozen embeddings of MiniLM, trained to convergence: "
                f"{result['rows']:,} training rows, {result['queries']} random rows of the "
                "development set as queries. Removal effects of all rows, by a direct solve.",
                "Spearman's correlation over the training rows of each query, between effects "
                "on the measure at the predicted label and effects on the loss at the true "
                "label. With two classes the effects of a query on all measures of one label "
                "are proportional.",
                "Data: Stanford Sentiment Treebank (2 classes) and MultiNLI (3 classes), from "
                "FASTIF_DATA.",
                describe_machine(result),
                "`python -m benchmarks.measures`",
            ),
        )
    ]
