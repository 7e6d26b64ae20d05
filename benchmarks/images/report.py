"""Page of the agreement of effects of images with retraining."""

from benchmarks.halves_page import (
    describe_span,
    list_methods,
    make_damping_grid,
    make_tables,
    summarize_gains,
)
from benchmarks.page import ResultPage, bullets, describe_machine

NAME = "images"


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    models = result["models"]
    span = describe_span([list_methods(entry)[0]["lds"] for entry in models.values()])
    return [
        ResultPage(
            NAME,
            "Image classifiers against retraining",
            "Do the effects of training images predict what retraining without half of them does?",
            summarize_gains(models),
            f"LDS {span}",
            make_tables(models),
            _describe(result),
            make_damping_grid(models),
        )
    ]


def _describe(result: dict) -> str:
    return bullets(
        "scikit-learn's digits, 8 x 8 pixels: 500 training rows, 100 queries. The other "
        "1,197 images train the whole model on another task first (four classes by parity "
        "and size), and the last stage or the head is tuned to the ten digits.",
        "EfficientNet-Lite0 (`examples/digits`) has the weights of ImageNet instead, and reads the "
        "digits enlarged to 48 x 48. It was measured at 0.03, as the other heads, and, since two "
        "seeds agreed little there, at 1e-3.",
        "10 epochs of AdamW without decay, at 3e-3 (last stage), 0.03 (head) or as named; a new "
        "head of zeros. 30 halves, retrained with two seeds, whose mean loss is the outcome; "
        "λ is chosen on 8 further halves.",
        "Frozen stages run once; effects are first-order (no leverage), exact "
        "Gauss-Newton, solver dual.",
        "Not shown: models that are not in the table, photographs, and stages of a pretrained "
        "backbone below its head.",
        describe_machine(result),
        "`python -m benchmarks.images.agreement`",
    )
