"""Repair of tags that break their scheme, with a sentence for every change."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastif.tokens.tag_scheme import Scheme, decode_spans, encode_spans


@dataclass(frozen=True)
class RepairedTags:
    """Tags that follow their scheme.

    Attributes:
        tags: Tags of the words of a sentence.
        repairs: Sentence for every tag that was changed.
    """

    tags: tuple[str, ...]
    repairs: tuple[str, ...] = ()


def repair_tags(tags: Sequence[str], scheme: Scheme) -> RepairedTags:
    """Repair the tags of a sentence, so that they encode the same spans by the rules of the scheme.

    Spans are decoded as by `decode_spans` and encoded again, so no word changes its type and none
    enters or leaves a span.

    Raises:
        InputError: If a tag is not one of the scheme.

    Examples:
        >>> repair_tags(["O", "I-PER"], "BIO").repairs
        ('word 2: I-PER (after O, at the end) became B-PER',)
    """
    written = encode_spans(decode_spans(tags, scheme), len(tags), scheme)
    repairs = tuple(
        f"word {place + 1}: {given} {_describe_neighbours(tags, place)} became {repaired}"
        for place, (given, repaired) in enumerate(zip(tags, written, strict=True))
        if given != repaired
    )
    return RepairedTags(tuple(written), repairs)


def _describe_neighbours(tags: Sequence[str], place: int) -> str:
    before = f"after {tags[place - 1]}" if place else "at the start"
    after = f"before {tags[place + 1]}" if place + 1 < len(tags) else "at the end"
    return f"({before}, {after})"
