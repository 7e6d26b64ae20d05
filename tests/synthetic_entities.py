"""Synthetic sentences with entities of three types, made from templates, so that truth is known."""

import random

from fastif.tokens import Span

PEOPLE = "anna berta carl doris emil fritz gerda hans ida jonas karla ludwig"
PLACES = "paris london madrid vienna prague dublin oslo athens lisbon bern"
FIRMS = "acme globex initech umbrella hooli stark wayne cyberdyne tyrell"
NAMES = {"PER": PEOPLE.split(), "LOC": PLACES.split(), "ORG": FIRMS.split()}
TEMPLATES = [
    "PER flew to LOC",
    "PER works for ORG in LOC",
    "the office of ORG is near LOC",
    "yesterday PER and PER met at ORG",
    "people in LOC like ORG",
    "it rained all day in LOC",
    "PER said that ORG pays well",
    "nobody knows when this ends",
]


def make_sentences(count: int, seed: int = 0):
    """Words and true spans of sentences, a third of the people with a surname."""
    generator = random.Random(seed)
    sentences, spans = [], []
    for number in range(count):
        words, own = [], []
        for word in generator.choice(TEMPLATES).split():
            if word not in NAMES:
                words.append(word)
                continue
            name = [generator.choice(NAMES[word]).title()]
            if word == "PER" and generator.random() < 0.33:
                name.append(generator.choice(NAMES["PER"]).title() + "sen")
            own.append(Span(len(words), len(words) + len(name), word))
            words += name
        sentences.append([*words, f"no{number}"])
        spans.append(own)
    return sentences, spans
