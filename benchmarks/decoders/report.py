"""Page of the agreement of effects of decoders with retraining."""

from benchmarks.halves_page import (
    describe_span,
    list_methods,
    make_damping_grid,
    make_tables,
    summarize_gains,
)
from benchmarks.page import ResultPage, bullets, describe_machine

NAME = "decoders"


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    models = result["models"]
    span = describe_span([list_methods(entry)[0]["lds"] for entry in models.values()])
    return [
        ResultPage(
            NAME,
            "Decoder classifiers against retraining",
            "Do the effects of training texts on a decoder predict retraining on half of them?",
            f"{summarize_gains(models)} The decoders are tiny and trained here, so this is "
            "no evidence on large pretrained ones.",
            f"LDS {span}",
            make_tables(models),
            _describe(result),
            make_damping_grid(models),
        )
    ]


def _describe(result: dict) -> str:
    facts, recipe = result["facts"], result["recipe"]
    return bullets(
        f"SST-2, film reviews of two classes: {facts['train']} random training rows and "
        f"{facts['queries']} random development rows as queries. Licence: none is stated for the "
        "treebank; no texts are kept.",
        f"Models of transformers with {facts['layers']} layers of width {facts['width']} and a "
        f"vocabulary of {facts['words']:,} words, at most {facts['max_length']} a text, without "
        f"dropout. The whole model is first trained as a classifier of the same labels on "
        f"{facts['others']:,} other training rows, {facts['pretraining_epochs']} epochs.",
        f"Then the last layer, what follows it, and a new head of zeros are trained: AdamW, "
        f"{recipe['epochs']} epochs in batches of {recipe['batch_size']}, learning rate "
        f"{recipe['learning_rate']:g}, no decay. 30 halves, retrained with two seeds, whose mean "
        "loss is the outcome; λ is chosen on 10 further halves.",
        "Frozen layers run once, and their hidden states are cached. Effects are first-order (no "
        "leverage), exact Gauss-Newton, solver dual.",
        "Not shown: decoders that are not in the table, pretrained ones, longer texts, "
        "other data sets, other seeds of the model whose effects are computed, and a last layer "
        "far from what the rows teach.",
        describe_machine(result),
        "`python -m benchmarks.decoders.agreement`, with the folder of `sst2` in `FASTIF_DATA`.",
    )
