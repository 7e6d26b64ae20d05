"""Tags of words in the schemes of token classification, and the labelled spans that they encode."""

from fastif.tokens.span import Span
from fastif.tokens.span_comparison import SpanDifference, compare_spans, score_spans
from fastif.tokens.tag_repair import RepairedTags, repair_tags
from fastif.tokens.tag_scheme import (
    SCHEMES,
    Scheme,
    decode_spans,
    detect_scheme,
    encode_spans,
    list_tags,
)

__all__ = [
    "SCHEMES",
    "RepairedTags",
    "Scheme",
    "Span",
    "SpanDifference",
    "compare_spans",
    "decode_spans",
    "detect_scheme",
    "encode_spans",
    "list_tags",
    "repair_tags",
    "score_spans",
]
