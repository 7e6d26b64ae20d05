"""Page of the agreement of effects of images with retraining."""

from benchmarks.page import ResultPage, bullets, describe_machine, table

NAME = "images"
PREFIX = "influence"


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    rows = []
    gains = []
    for name, entry in result["models"].items():
        best = select_damping(entry)
        scores = entry["lds"]
        product, cosine = scores["gradient product"], scores["gradient cosine"]
        gains.append((scores[best], max(product, cosine)))
        rows.append(
            (
                name,
                f"{entry['parameters']:,}",
                f"{scores[best]:.2f}",
                best.removeprefix("influence, damping "),
                f"{product:.2f}",
                f"{cosine:.2f}",
                f"{entry['seeds']:.2f}",
                f"{entry['seconds']:.0f} / {entry['retrain_seconds']:.0f}",
            )
        )
    low, high = min(first for first, _ in gains), max(first for first, _ in gains)
    span = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
    head = (
        "model, attributed parameters",
        "parameters",
        "influence",
        "λ",
        "gradient product",
        "gradient cosine",
        "two seeds",
        "seconds of all effects / of retraining",
    )
    grid = [
        (
            name.removeprefix("influence, damping "),
            *(f"{e['lds'][name]:.2f}" for e in _list(result)),
        )
        for name in _list(result)[0]["lds"]
        if name.startswith(PREFIX)
    ]
    return [
        ResultPage(
            NAME,
            "Image classifiers against retraining",
            "Do the effects of training images predict what retraining without half of them does?",
            f"The LDS of influence is {span}; those of the gradient product and the gradient "
            "cosine are in the table.",
            f"LDS {span}",
            [
                table(head, rows),
                "LDS: rank correlation over random halves of the summed effect of the kept rows "
                "with the loss after retraining on them, mean over the queries. Two seeds: the "
                "same correlation between retrainings with two seeds.",
            ],
            bullets(
                "scikit-learn's digits, 8 x 8 pixels: 500 training rows, 100 queries. The other "
                "1,197 images train the whole model on another task first (four classes by parity "
                "and size), and the last stage or the head is tuned to the ten digits.",
                "10 epochs of AdamW without decay, at 3e-3 (last stage) or 0.03 (head); a new head "
                "of zeros. 30 halves, retrained with two seeds, whose mean loss is the outcome; "
                "λ is chosen on 8 further halves.",
                "Frozen stages run once; effects are first-order (no leverage), exact "
                "Gauss-Newton, solver dual.",
                describe_machine(result),
                "`python -m benchmarks.images.agreement`",
            ),
            table(("λ", *result["models"]), grid),
        )
    ]


def select_damping(entry: dict) -> str:
    """Return the damping with the highest LDS on the halves of the choice."""
    choice = {name: score for name, score in entry["choice"].items() if name.startswith(PREFIX)}
    return max(choice, key=lambda name: choice[name])


def _list(result: dict) -> list[dict]:
    return list(result["models"].values())
