"""Tag schemes of token classification: spans from tags, and tags from spans.

A tag is O for a word outside of every span, or a prefix with the type of the span: B-PER. The
schemes (Ramshaw and Marcus, 1995; Ratinov and Roth, 2009) differ in their prefixes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from fastif.errors import InputError
from fastif.tokens.span import Span

Scheme = Literal["IO", "BIO", "IOB1", "BILOU", "BIOES", "words"]
"""Tag scheme; "words" has one type a word and no spans of several words (parts of speech)."""

PREFIXES: Final[dict[Scheme, str]] = {
    "IO": "I",
    "BIO": "BI",
    "IOB1": "BI",
    "BILOU": "BILU",
    "BIOES": "BIES",
    "words": "",
}
"""Prefixes of every scheme."""
SCHEMES: Final[tuple[Scheme, ...]] = tuple(PREFIXES)
OUTSIDE: Final = "O"
STARTS: Final = "BSU"
"""Prefixes with which a span always starts."""
ENDS: Final = "ELSU"
"""Prefixes after which a span never continues."""

MAX_REPAIRED_SHARE = 0.1
"""Largest share of a column's spans that may break a scheme that is detected."""


class Tag(NamedTuple):
    """Tag in two parts; both are empty for O."""

    prefix: str
    kind: str


def parse_tag(tag: str, scheme: Scheme) -> Tag:
    """Parse a tag into its prefix and its type.

    Raises:
        InputError: If it is no tag of the scheme.

    Examples:
        >>> parse_tag("B-PER", "BIO")
        Tag(prefix='B', kind='PER')
    """
    if scheme == "words" and tag:
        return Tag("", tag)
    if tag == OUTSIDE:
        return Tag("", "")
    prefix, _, kind = tag.partition("-")
    if len(prefix) == 1 and prefix in PREFIXES[scheme] and (kind or prefix == tag):
        return Tag(prefix, kind)
    expected = ", ".join(f"{prefix}-TYPE" for prefix in PREFIXES[scheme])
    raise InputError(
        "tag",
        f"O or {expected} of the scheme {scheme}",
        repr(tag),
        "Correct the tag, or state another scheme.",
    )


def decode_spans(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """Decode the spans of a sentence's tags, as the evaluation of CoNLL-2000 does.

    Tags that break the scheme have the spans that `repair_tags` writes: a type after O or after
    another type starts a span. With the scheme "words" every word is a span.

    Raises:
        InputError: If a tag is not one of the scheme.

    Examples:
        >>> decode_spans(["B-PER", "I-PER", "O", "I-LOC"], "BIO")
        [Span(start=0, end=2, kind='PER'), Span(start=3, end=4, kind='LOC')]
    """
    parsed = [parse_tag(tag, scheme) for tag in tags]
    if scheme == "words":
        return [Span(place, place + 1, tag.kind) for place, tag in enumerate(parsed)]
    spans: list[Span] = []
    for place, tag in enumerate(parsed):
        if not tag.prefix:
            continue
        before = parsed[place - 1] if place else Tag("", "")
        if continues_span(before, tag):
            spans[-1] = Span(spans[-1].start, place + 1, tag.kind)
        else:
            spans.append(Span(place, place + 1, tag.kind))
    return spans


def continues_span(before: Tag, tag: Tag) -> bool:
    """Whether a tag continues the span of the tag before it."""
    is_open = before.prefix and before.prefix not in ENDS and before.kind == tag.kind
    return bool(is_open) and tag.prefix not in STARTS


def encode_spans(spans: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """Encode spans as the tags of a sentence of `length` words.

    Raises:
        InputError: If spans overlap, are empty or exceed the sentence, or the scheme cannot encode
            them: "IO" merges adjacent spans of one type.

    Examples:
        >>> encode_spans([Span(0, 3, "PER"), Span(4, 5, "LOC")], 5, "BILOU")
        ['B-PER', 'I-PER', 'L-PER', 'O', 'U-LOC']
    """
    ordered = sorted(spans)
    _check_spans(ordered, length, scheme)
    tags = [OUTSIDE] * length
    for number, span in enumerate(ordered):
        before = ordered[number - 1] if number else None
        touches = before is not None and before.end == span.start and before.kind == span.kind
        for place in range(span.start, span.end):
            prefix = _choose_prefix(span, place, scheme, touches)
            tags[place] = "-".join(filter(None, (prefix, span.kind)))
    return tags


def _choose_prefix(span: Span, place: int, scheme: Scheme, touches: bool) -> str:
    """Return the prefix of one word of a span; `touches` if one of its type ends before it."""
    first, last = place == span.start, place == span.end - 1
    if scheme in ("BILOU", "BIOES") and last:
        single, final = ("U", "L") if scheme == "BILOU" else ("S", "E")
        return single if first else final
    if scheme == "words":
        return ""
    starts = scheme != "IO" and first and (scheme != "IOB1" or touches)
    return "B" if starts else "I"


def _check_spans(ordered: Sequence[Span], length: int, scheme: Scheme) -> None:
    """Refuse spans that the scheme cannot encode."""
    for span in ordered:
        if not 0 <= span.start < span.end <= length:
            raise InputError(
                "spans",
                f"spans of one word or more within {length} words",
                f"words {span.start} to {span.end}",
                "Correct the span.",
            )
    for before, span in pairwise(ordered):
        if before.overlaps(span):
            raise InputError(
                "spans",
                "spans that share no word",
                f"words {before.start} to {before.end} and {span.start} to {span.end}",
                "Remove one of them; nested spans cannot be encoded by tags.",
            )
        if scheme == "IO" and before.end == span.start and before.kind == span.kind:
            raise InputError(
                "spans",
                "spans of one type with a word between them, in the scheme IO",
                f"two of type {span.kind} that meet at word {span.start}",
                "Use the scheme BIO.",
            )
    if scheme == "words" and (len(ordered) != length or any(len(span) > 1 for span in ordered)):
        raise InputError(
            "spans",
            f"one span for each of the {length} words, in the scheme words",
            f"{len(ordered)}",
            "Use the scheme BIO for spans of several words.",
        )


def detect_scheme(sentences: Iterable[Sequence[str]]) -> Scheme:
    """Detect the scheme of the tags of a whole column.

    Tags without prefixes are "words". B and I alone are BIO or IOB1, whichever fewer spans break;
    IO where no tag is B.

    Raises:
        InputError: If there is no span, tags are of two schemes, or a share of the spans above
            `MAX_REPAIRED_SHARE` breaks the scheme.

    Examples:
        >>> detect_scheme([["B-PER", "I-PER"], ["O", "B-LOC"]])
        'BIO'
    """
    rows = [list(tags) for tags in sentences]
    counts = Counter(tag for tags in rows for tag in tags if tag != OUTSIDE)
    if not counts:
        raise InputError(
            "tags", "one span or more", "no tag other than O", "State the scheme of the tags."
        )
    prefixes = {tag.partition("-")[0] for tag in counts if _has_prefix(tag)}
    bare = [tag for tag in counts if not _has_prefix(tag)]
    if bare and not prefixes:
        return "words"
    suitable: list[Scheme] = [
        scheme for scheme, known in PREFIXES.items() if known and prefixes <= set(known)
    ]
    if bare or not suitable:
        examples = ", ".join([*bare[:3], *(tag for tag in counts if _has_prefix(tag))][:6])
        raise InputError(
            "tags", f"tags of one scheme ({', '.join(SCHEMES)})", examples, "Correct these tags."
        )
    if "IO" in suitable:
        return "IO"
    return _select_by_breaks(rows, suitable)


def _has_prefix(tag: str) -> bool:
    prefix, dash, kind = tag.partition("-")
    return len(prefix) == 1 and prefix in "BILUES" and (bool(kind) or not dash)


def _select_by_breaks(rows: Sequence[Sequence[str]], suitable: Sequence[Scheme]) -> Scheme:
    """Return the scheme that the fewest sentences break; refuse one that many break."""
    broken = {scheme: _count_breaks(rows, scheme) for scheme in suitable}
    best = min(suitable, key=lambda scheme: broken[scheme])
    total = sum(len(decode_spans(tags, best)) for tags in rows)
    if broken[best] > MAX_REPAIRED_SHARE * total:
        raise InputError(
            "tags",
            "tags of one scheme",
            f"{broken[best]} of {total} spans that break {best}, the scheme that fits best",
            "State the scheme, or correct the tags.",
        )
    return best


def _count_breaks(rows: Sequence[Sequence[str]], scheme: Scheme) -> int:
    """Count the spans with a tag that the scheme writes in another way."""
    count = 0
    for tags in rows:
        spans = decode_spans(tags, scheme)
        written = encode_spans(spans, len(tags), scheme)
        count += sum(
            list(tags[span.start : span.end]) != written[span.start : span.end] for span in spans
        )
    return count


def list_tags(kinds: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """List all tags of a scheme for the given types, O first.

    Examples:
        >>> list_tags(["LOC"], "BIO")
        ('O', 'B-LOC', 'I-LOC')
    """
    if scheme == "words":
        return tuple(kinds)
    pairs = [(kind, prefix) for kind in kinds for prefix in PREFIXES[scheme]]
    return (OUTSIDE, *("-".join(filter(None, (prefix, kind))) for kind, prefix in pairs))
