"""Out-of-fold logits of fine-tuned classifiers.

`python -m benchmarks.mislabels.tuned` trains them (two hours on two cores) and caches their logits
under benchmarks/.work; `python -m benchmarks.mislabels` then also runs the procedure with them.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

import fastif
from benchmarks.mislabels.corpora import ENCODER, WORK, Corpus, Reader, corpora, tuned_logits_path
from fastif.mislabels.group_folds import assign_group_folds
from fastif.models.pretrained import quiet_loading

LENGTH = 64
PAIRS = fastif.TrainingConfig(learning_rate=1e-4, weight_decay=0.01, batch_size=32)
SENTENCES = fastif.TrainingConfig(epochs=2, learning_rate=5e-5, weight_decay=0.01, batch_size=32)
WHOLE = ["encoder.layer", "pooler", "classifier"]
REPEATS = 2
"""Number of averaged partitions into folds, as for the heads."""
PASSES = (2, 4)
"""Epochs of two averaged classifiers: one is less accurate, the other overconfident."""
NLI = ("contradiction", "entailment", "neutral")
OTHERS = (
    "lingnli/train",
    "multinli/train_subset",
    "multinli/dev_matched",
    "multinli/dev_mismatched_subset",
)
"""Training pairs, with their labels as given."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.mislabels.tuned"
    )
    parser.add_argument(
        "--pairs", type=int, default=100_000, help="maximum number of training pairs"
    )
    parser.add_argument("--only", default="", help="sets with this text in their name")
    options = parser.parse_args()
    reader = Reader(Path(os.environ["FASTIF_DATA"]), WORK)
    if options.only in "lingnli":
        torch.save(pairs(reader, options.pairs), tuned_logits_path("lingnli"))
    for name, read in corpora(reader):
        if name.startswith("sst2") and "with" not in name and options.only in name:
            texts = reader.frame("sst2/train", 3000)["text"].to_list()
            torch.save(cross_fit_logits(reader, read(), texts), tuned_logits_path(name))


def pairs(reader: Reader, count: int) -> Tensor:
    """Return logits of the validation pairs of LingNLI by classifiers trained on other pairs."""
    columns = ("premise", "hypothesis", "label")
    frames = [reader.frame(name) for name in OTHERS]
    rows = [row for frame in frames for row in frame.select(columns).iter_rows()]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count]
    training = encode_pairs(reader, [rows[place] for place in order.tolist()], NLI)
    validation_rows = list(reader.frame("lingnli/validation").select(columns).iter_rows())
    pass_logits = []
    for passes in PASSES:
        trained = classifier(3)
        recipe = replace(PAIRS, epochs=passes)
        # Half precision where rounding is harmless: ninety minutes on one core instead of
        # three hours.
        # The cache would keep the rounded weights of the first step until the last.
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            trained.params = fastif.fit(trained, training, recipe, print_progress)
        pass_logits.append(fastif.predict(trained, encode_pairs(reader, validation_rows, NLI))[0])
    return torch.stack([logits.log_softmax(1) for logits in pass_logits]).mean(0)


def cross_fit_logits(reader: Reader, corpus: Corpus, texts: list[str]) -> Tensor:
    """Return out-of-fold logits of each sentence, by classifiers of the given labels."""
    labels = corpus.rows.labels.tolist()
    rows = fastif.encode(reader.tokenizer, texts, None, labels, LENGTH)
    logits = torch.zeros(len(rows), 2)
    for repeat in range(REPEATS):
        parts = assign_group_folds(torch.arange(len(rows)), 5, repeat)
        for part in parts.unique():
            held_out = parts == part
            trained = classifier(2)
            recipe = replace(SENTENCES, seed=repeat)
            train_subset = rows.subset((~held_out).nonzero()[:, 0])
            trained.params = fastif.fit(trained, train_subset, recipe, print_progress)
            logits[held_out] += (
                fastif.predict(trained, rows, ids=held_out.nonzero()[:, 0])[0] / REPEATS
            )
    return logits


def classifier(classes: int) -> fastif.TransformerObjective:
    """Return MiniLM with a new head; all but its embeddings are trained."""
    torch.manual_seed(0)
    with quiet_loading():
        # In bfloat16 the gradient of fused attention takes as long as all other work.
        model = AutoModelForSequenceClassification.from_pretrained(
            str(ENCODER), num_labels=classes, attn_implementation="eager"
        )
    return fastif.TransformerObjective(model.eval(), WHOLE, fastif.CrossEntropy())


def encode_pairs(
    reader: Reader, rows: list[tuple[str, str, str]], labels: tuple[str, ...]
) -> fastif.TextExamples:
    """Return sentence pairs as tokens."""
    first, second, names = (list(column) for column in zip(*rows, strict=True))
    numbers = [labels.index(name) for name in names]
    return fastif.encode(reader.tokenizer, first, second, numbers, LENGTH)


def print_progress(step: int, steps: int, loss: float) -> None:
    """Print a progress line from time to time."""
    if step % 100 == 0 or step == steps:
        print(f"step {step} of {steps}: loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
