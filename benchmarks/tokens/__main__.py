"""Does the search for wrong spans find more of them than the loss of the tags?

`python -m benchmarks.tokens --data FOLDER` reads CoNLL files from a folder, and writes
benchmarks/results/tokens.json with its page. cleanlab must be importable.
"""

import argparse
import random
from pathlib import Path

import torch

from benchmarks.machine import describe
from benchmarks.page import publish, read_result
from benchmarks.tokens.noise import NOISES, RATE, make_noisy
from benchmarks.tokens.rankings import (
    compute_precision,
    count_errors,
    rank_by_words,
    rank_doubts,
    score_by_loss,
    score_by_peer,
)
from benchmarks.tokens.report import NAME, build_pages
from fastif.tokens import Span
from fastif.wrong_spans.span_search import FOLDS, SpanSearch
from fastif.wrong_spans.tagged_words import TaggedWords, group_sentences
from fastif.wrong_spans.word_features import make_word_features
from fastif.wrong_spans.word_head import WordData, cross_fit_words
from tasks.tokens.read_tagged import read_tagged_table
from tasks.tokens.tagged_table import TaggedTable

TABLES = {"CoNLL++ test": "conllpp_test.txt", "WNUT 17 training": "wnut17train.conll"}
SENTENCES = 500
WORD_SCORES = {
    "loss": score_by_loss,
    "cleanlab, self-confidence": score_by_peer("self_confidence"),
    "cleanlab, normalized margin": score_by_peer("normalized_margin"),
}


def main() -> None:
    """Measure the tables, and write the result and its page after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokens")
    parser.add_argument("--data", type=Path, required=True, help="folder of the CoNLL files")
    parser.add_argument("--seed", type=int, default=0, help="entries of others stay")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {"entries": [], **read_result(NAME)}
    entries = [entry for entry in result["entries"] if entry["seed"] != options.seed]
    for title, name in TABLES.items():
        entries += _measure(title, read_tagged_table(options.data / name), options.seed)
        entries.sort(
            key=lambda entry: (entry["title"], NOISES.index(entry["noise"]), entry["seed"])
        )
        result |= {"sentences": SENTENCES, "rate": RATE, "entries": entries}
        result["machine"] = describe()
        publish(NAME, result, build_pages(result))


def _measure(title: str, table: TaggedTable, seed: int) -> list[dict]:
    """Measure all kinds of noise in random sentences of a table."""
    rows = random.Random(seed).sample(range(len(table)), 2 * SENTENCES)
    spans = table.spans
    words = _select(table, spans, rows[:SENTENCES])
    source = _select(table, spans, rows[SENTENCES:])
    entries = []
    for noise in NOISES:
        given = make_noisy(words, noise, source, seed + 100)
        entry = {"title": title, "seed": seed, "noise": noise}
        entry |= {"given": sum(map(len, given.spans)), "errors": count_errors(given, words)}
        entries.append(entry | {"precision": _compare(given, words, seed)})
        print(entries[-1], flush=True)
    return entries


def _compare(given: TaggedWords, true: TaggedWords, seed: int) -> dict[str, float]:
    """Return the average precision of all methods on the same out-of-fold probabilities."""
    data = WordData(make_word_features(given.sentences), None, given.word_groups)
    logits = cross_fit_words(data, given.tags, given.classes, FOLDS, seed)
    log_probabilities = logits.double().log_softmax(1)
    places = {
        # Its first heads are those above: the folds and the fit are the same.
        "fastif": rank_doubts(SpanSearch(seed=seed)(given)),
        "fastif, given probabilities": rank_doubts(
            SpanSearch(None, log_probabilities, seed)(given)
        ),
    }
    for name, score in WORD_SCORES.items():
        places[name] = rank_by_words(given, score(given, log_probabilities.exp()))
    return {name: compute_precision(row, given, true) for name, row in places.items()}


def _select(table: TaggedTable, spans: list[list[Span]], rows: list[int]) -> TaggedWords:
    sentences = [table.sentences[row].words for row in rows]
    documents = [table.sentences[row].document for row in rows]
    groups = group_sentences(sentences, documents)
    return TaggedWords(sentences, [spans[row] for row in rows], table.kinds, groups)


if __name__ == "__main__":
    main()
