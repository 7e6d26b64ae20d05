"""Marginals of the chain against the sum over every sequence of tags."""

import itertools

import pytest
import torch

from fastif.tokens import Span, decode_spans, list_tags
from fastif.wrong_spans.tag_chain import fit_chain

KINDS = ("x", "y")
TAGS = list_tags(KINDS, "BIO")


def make_chain(length, seed=0):
    """A fitted chain of random probabilities, and all its tag sequences with their weights."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(5, 5, generator=generator, dtype=torch.float64).log_softmax(1)] * 20
    tags = [torch.tensor([0, 1, 2, 0, 3]), torch.tensor([1, 0, 3, 4, 4])] * 10
    model = fit_chain(rows, tags)
    emissions = torch.randn(length, 5, generator=generator, dtype=torch.float64).log_softmax(1)
    chain, weights = model.make_chain(emissions), {}
    for sequence in itertools.product(range(5), repeat=length):
        value = chain.start[sequence[0]] + sum(
            chain.emissions[place, tag] for place, tag in enumerate(sequence)
        )
        value = value + sum(chain.transitions[a, b] for a, b in itertools.pairwise(sequence))
        weights[sequence] = float(value.exp())
    total = sum(weights.values())
    return chain, {sequence: weight / total for sequence, weight in weights.items()}


@pytest.mark.parametrize("length", [1, 2, 4])
def test_span_probabilities_are_sums_over_all_sequences(length):
    chain, weights = make_chain(length)
    expected: dict[Span, float] = {}
    for sequence, weight in weights.items():
        for span in decode_spans([TAGS[tag] for tag in sequence], "BIO"):
            expected[span] = expected.get(span, 0.0) + weight
    actual = chain.compute_span_probabilities(5)
    for start, size, kind in itertools.product(range(length), range(1, 6), range(2)):
        span = Span(start, start + size, KINDS[kind])
        assert float(actual[start, size - 1, kind]) == pytest.approx(
            expected.get(span, 0.0), abs=1e-10
        )


def test_tag_marginals_and_the_outside_are_sums_over_all_sequences():
    chain, weights = make_chain(4)
    marginals = torch.zeros(4, 5, dtype=torch.float64)
    for sequence, weight in weights.items():
        marginals[torch.arange(4), torch.tensor(sequence)] += weight
    torch.testing.assert_close(chain.compute_marginals(), marginals)
    for start, end in ((0, 1), (1, 3), (0, 4)):
        outside = sum(w for tags, w in weights.items() if not any(tags[start:end]))
        assert chain.compute_outside(start, end) == pytest.approx(outside)


def test_a_sequence_has_its_share_of_the_sum():
    chain, weights = make_chain(3)
    sequence = (1, 2, 0)
    assert float(chain.score(torch.tensor(sequence)).exp()) == pytest.approx(weights[sequence])


def test_sequences_that_are_no_bio_are_impossible():
    _, weights = make_chain(3)
    for sequence, weight in weights.items():
        tags = [TAGS[tag] for tag in sequence]
        broken = any(
            tag.startswith("I") and before[1:] != tag[1:]
            for before, tag in itertools.pairwise(["O", *tags])
        )
        assert (weight == 0) == broken
