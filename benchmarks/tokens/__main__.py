"""Does the search for wrong spans find more of them than the loss of the tags?

`python -m benchmarks.tokens --data FOLDER` reads CoNLL files from a folder, and writes
benchmarks/results/tokens.json with its page. cleanlab must be importable.
"""

import argparse
import random
from collections import Counter
from pathlib import Path

import torch

from benchmarks.machine import describe
from benchmarks.page import publish, read_result
from benchmarks.tokens.noise import CORRECTIONS, NOISES, RATE, make_noisy
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

CORRECTED, ORIGINAL = "conllpp_test.txt", "eng.testb"
TABLES = {"CoNLL++ test": CORRECTED, "WNUT 17 training": "wnut17train.conll"}
SENTENCES, CORRECTED_SENTENCES = 500, 1000
ORDER = (*NOISES, CORRECTIONS)
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
        entries += measure(title, read_tagged_table(options.data / name), options.seed)
    if (options.data / ORIGINAL).is_file():
        entries.append(measure_corrections(options.data, options.seed))
    entries.sort(key=lambda entry: (entry["title"], ORDER.index(entry["noise"]), entry["seed"]))
    result |= {"sentences": SENTENCES, "rate": RATE, "entries": entries}
    result |= {"corrected_sentences": CORRECTED_SENTENCES, "machine": describe()}
    publish(NAME, result, build_pages(result))


def measure(title: str, table: TaggedTable, seed: int) -> list[dict]:
    """Measure all kinds of noise in random sentences of a table."""
    rows = random.Random(seed).sample(range(len(table)), 2 * SENTENCES)
    spans = table.spans
    words = _select(table, spans, rows[:SENTENCES])
    source = _select(table, spans, rows[SENTENCES:])
    entries = []
    for noise in NOISES:
        given = make_noisy(words, noise, source, seed + 100)
        entries.append(
            {"title": title, "seed": seed, "noise": noise, **_compare(given, words, seed)}
        )
        print(entries[-1], flush=True)
    return entries


def measure_corrections(folder: Path, seed: int) -> dict:
    """Measure the corrections of CoNLL++ in random sentences that both versions have."""
    tables = [read_tagged_table(folder / name) for name in (ORIGINAL, CORRECTED)]
    pairs = _pair_sentences(*tables)
    chosen = random.Random(seed).sample(pairs, CORRECTED_SENTENCES)
    given, true = (
        _select(table, table.spans, [pair[side] for pair in chosen])
        for side, table in enumerate(tables)
    )
    entry = {"title": "CoNLL test, original", "seed": seed, "noise": CORRECTIONS}
    entry |= _compare(given, given.with_spans(true.spans), seed)
    print(entry, flush=True)
    return entry


def _pair_sentences(first: TaggedTable, second: TaggedTable) -> list[tuple[int, int]]:
    """Pair the sentences with equal words; the nth time of each with the nth."""
    left, right = _number_sentences(first), _number_sentences(second)
    return sorted((row, right[key]) for key, row in left.items() if key in right)


def _number_sentences(table: TaggedTable) -> dict[tuple[tuple[str, ...], int], int]:
    """Return the row of every sentence, by its words and the number of equal ones before."""
    counts: Counter[tuple[str, ...]] = Counter()
    rows = {}
    for row, sentence in enumerate(table.sentences):
        words = tuple(sentence.words)
        rows[words, counts[words]] = row
        counts[words] += 1
    return rows


def _compare(given: TaggedWords, true: TaggedWords, seed: int) -> dict:
    """Compare the average precision of all methods on the same out-of-fold probabilities."""
    data = WordData(make_word_features(given.sentences), None, given.word_groups)
    logits = cross_fit_words(data, given.tags, given.classes, FOLDS, seed)
    log_probabilities = logits.double().log_softmax(1)
    doubts = SpanSearch(None, log_probabilities, seed)(given)
    places = {"fastif": rank_doubts(doubts)}
    for name, score in WORD_SCORES.items():
        places[name] = rank_by_words(given, score(given, log_probabilities.exp()))
    return {
        "given": sum(map(len, given.spans)),
        "errors": count_errors(given, true),
        "expected": sum(doubt.probability for doubt in doubts),
        "precision": {name: compute_precision(row, given, true) for name, row in places.items()},
    }


def _select(table: TaggedTable, spans: list[list[Span]], rows: list[int]) -> TaggedWords:
    sentences = [table.sentences[row].words for row in rows]
    documents = [table.sentences[row].document for row in rows]
    groups = group_sentences(sentences, documents)
    return TaggedWords(sentences, [spans[row] for row in rows], table.kinds, groups)


if __name__ == "__main__":
    main()
