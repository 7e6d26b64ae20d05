"""Page of the agreement of the effects on one's own module with retraining."""

from benchmarks.halves_page import describe_ceiling, make_damping_grid, make_method_table
from benchmarks.page import ResultPage, bullets, describe_machine

NAME = "own-module"
AUDIT = "audit of the study"


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    models = result["models"]
    ((name, entry),) = models.items()
    scores = {method["name"]: method for method in entry["methods"]}
    audit, product = scores[AUDIT], scores["gradient product"]
    chosen = entry["methods"][0]
    return [
        ResultPage(
            NAME,
            "A torch module of one's own against retraining",
            "Do the effects of a study with `[model] factory` predict retraining on half the rows?",
            f"The LDS of the audit is {audit['lds']:.2f} with the damping of the rule of "
            f"thumb, {chosen['lds']:.2f} with one chosen by retraining, and that of the gradient "
            f"product {product['lds']:.2f}. {describe_ceiling(entry)}",
            f"LDS {audit['lds']:.2f}",
            [make_method_table(entry)],
            _describe(result, name, entry),
            make_damping_grid(models),
        )
    ]


def _describe(result: dict, name: str, entry: dict) -> str:
    facts, recipe = result["facts"], result["recipe"]
    return bullets(
        f"Titanic (Frank E. Harrell Jr. and Thomas Cason; OpenML 40945, public), from the test "
        f"files of scikit-learn: {facts['train']} training rows and {facts['queries']} queries, "
        "with numbers, categories and missing values.",
        f"{name} parameters attributed, {entry['parameters']:,}; ReLU, made by a function that "
        "the study names; its collate function encodes the columns. AdamW, "
        f"{recipe['epochs']} epochs in batches of {recipe['batch_size']}, learning rate "
        f"{recipe['learning_rate']:g}, no decay, from one initialization. It predicts "
        f"{entry['accuracy']:.0%} of the queries.",
        f"{entry['halves']} halves, retrained with two seeds (orders of the rows), whose mean "
        "loss is the outcome; λ is chosen on 10 further halves. Retraining takes module, rows and "
        "collate function as the study loads them.",
        "Effects: exact Gauss-Newton, solver dual, first-order. The audit is the one of `fastif "
        "audit`, with the damping of the rule of thumb; its effects are read from the store of the "
        "study.",
        "Not shown: other seeds of the initialization, other modules, more than two labels.",
        describe_machine(result),
        "`python -m benchmarks.own_module.agreement`",
    )
