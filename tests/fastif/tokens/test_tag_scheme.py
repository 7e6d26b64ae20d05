"""Tag schemes: spans from tags and back, detection, and what is refused."""

import itertools

import pytest

from fastif import InputError
from fastif.tokens import (
    SCHEMES,
    Span,
    decode_spans,
    detect_scheme,
    encode_spans,
    list_tags,
    repair_tags,
)

SPANS = [Span(0, 3, "PER"), Span(4, 5, "LOC"), Span(5, 7, "LOC"), Span(8, 9, "PER")]
WRITTEN = {
    "BIO": "B-PER I-PER I-PER O B-LOC B-LOC I-LOC O B-PER",
    "IOB1": "I-PER I-PER I-PER O I-LOC B-LOC I-LOC O I-PER",
    "BILOU": "B-PER I-PER L-PER O U-LOC B-LOC L-LOC O U-PER",
    "BIOES": "B-PER I-PER E-PER O S-LOC B-LOC E-LOC O S-PER",
}


def list_layouts(length):
    """Every set of spans of two types in a short sentence."""
    kinds = ("O", "B-x", "I-x", "B-y", "I-y")
    for tags in itertools.product(kinds, repeat=length):
        follows = all(
            tag[0] != "I" or before.endswith(tag[1:])
            for before, tag in zip(("O", *tags), tags, strict=False)
        )
        if follows:
            yield tags


@pytest.mark.parametrize("scheme", WRITTEN)
def test_spans_are_written_as_published(scheme):
    tags = WRITTEN[scheme].split()
    assert encode_spans(SPANS, 9, scheme) == tags
    assert decode_spans(tags, scheme) == SPANS
    assert detect_scheme([tags]) == scheme


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s not in ("words", "IO")])
def test_every_layout_returns_from_every_scheme(scheme):
    for tags in list_layouts(5):
        spans = decode_spans(tags, "BIO")
        written = encode_spans(spans, 5, scheme)
        assert decode_spans(written, scheme) == spans
        assert repair_tags(written, scheme) == repair_tags(written, scheme).__class__(
            tuple(written), ()
        )


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s != "words"])
def test_repair_of_any_tags_ends_and_keeps_the_spans(scheme):
    """Any sequence of known prefixes, however broken, has spans that the repaired tags keep."""
    for tags in itertools.product(list_tags(["x", "y"], scheme), repeat=3):
        repaired = repair_tags(tags, scheme)
        assert decode_spans(repaired.tags, scheme) == decode_spans(tags, scheme)
        assert repair_tags(repaired.tags, scheme).repairs == ()
        changes = sum(a != b for a, b in zip(tags, repaired.tags, strict=True))
        assert len(repaired.repairs) == changes
        outside = [tag == "O" for tag in tags]
        assert [tag == "O" for tag in repaired.tags] == outside  # no word enters or leaves a span


def test_the_repair_says_what_it_changed():
    repaired = repair_tags(["O", "I-PER", "I-LOC"], "BIO")
    assert repaired.tags == ("O", "B-PER", "B-LOC")
    assert repaired.repairs == (
        "word 2: I-PER (after O, before I-LOC) became B-PER",
        "word 3: I-LOC (after I-PER, at the end) became B-LOC",
    )


def test_io_merges_neighbours_and_refuses_to_write_them():
    assert decode_spans(["I-x", "I-x", "I-y"], "IO") == [Span(0, 2, "x"), Span(2, 3, "y")]
    with pytest.raises(InputError, match="BIO"):
        encode_spans([Span(0, 1, "x"), Span(1, 2, "x")], 2, "IO")


def test_types_with_dashes_and_no_types():
    assert decode_spans(["B-cell-line", "I-cell-line"], "BIO") == [Span(0, 2, "cell-line")]
    assert decode_spans(["B", "I", "O"], "BIO") == [Span(0, 2, "")]
    assert encode_spans([Span(0, 2, "")], 3, "BIO") == ["B", "I", "O"]


def test_parts_of_speech_are_words():
    assert detect_scheme([["NN", "VBZ", "IN"]]) == "words"
    assert decode_spans(["NN", "IN"], "words") == [Span(0, 1, "NN"), Span(1, 2, "IN")]
    assert encode_spans([Span(0, 1, "NN"), Span(1, 2, "IN")], 2, "words") == ["NN", "IN"]


def test_an_empty_sentence_has_no_span():
    assert decode_spans([], "BIO") == []
    assert encode_spans([], 0, "BIO") == []
    assert repair_tags([], "BIO").tags == ()


@pytest.mark.parametrize("tag", ["X-PER", "b-PER", "", "BPER", "B-", "L-PER", "-PER"])
def test_an_unknown_tag_is_refused(tag):
    with pytest.raises(InputError, match="tag"):
        decode_spans(["O", tag], "BIO")


@pytest.mark.parametrize(
    "tags",
    [
        [["O", "O"]],
        [["B-x", "L-x"], ["B-x", "E-x"]],
        [["B-x", "PER"]],
        [["B-x", "I-x"], ["I-x", "B-x"], ["I-y", "O"], ["B-y", "O"]],
    ],
    ids=["no span", "two schemes", "prefix and none", "half of each"],
)
def test_mixed_columns_are_refused(tags):
    with pytest.raises(InputError):
        detect_scheme(tags)


@pytest.mark.parametrize(
    "spans",
    [[Span(0, 2, "x"), Span(1, 3, "y")], [Span(2, 5, "x")], [Span(1, 1, "x")]],
    ids=["overlap", "outside", "empty"],
)
def test_spans_that_no_tags_encode_are_refused(spans):
    with pytest.raises(InputError, match="spans"):
        encode_spans(spans, 4, "BIO")
