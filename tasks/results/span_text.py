"""Readable text of the tags of a sentence: its spans, with their types."""

from collections.abc import Sequence

import polars as pl

from fastif.errors import InputError
from fastif.tokens import Scheme, Span, decode_spans
from fastif.tokens.tag_scheme import OUTSIDE
from storage.run_record import RunRecord
from tasks.data.tag_repairs import list_schemes
from tasks.data.word_text import split_words
from tasks.results.run_target import read_target
from tasks.study.target_kind import NO_TAG, TAGS

NO_SPAN = "(no span)"
"""Text of a sentence without a span."""


def find_scheme_of_run(record: RunRecord) -> Scheme | None:
    """Return a scheme by which the tags of a run are decoded; None for tags without spans.

    Args:
        record: Record of the run.
    """
    labels = record.parts.get("labels")
    if read_target(record) != TAGS or not isinstance(labels, list):
        return None
    schemes = list_schemes([str(label) for label in labels])
    return schemes[0] if schemes and schemes != ["words"] else None


def describe_spans(text: str, tags: str, scheme: Scheme) -> str:
    """Describe the spans of a sentence with their words.

    Args:
        text: Text of the sentence, see `join_words`.
        tags: Tags of its words, as in the columns `label` and `prediction` of a store.
        scheme: Scheme of the tags.

    Examples:
        >>> describe_spans("Ada Lovelace in London", "B-PER I-PER O B-LOC", "BIO")
        'PER: Ada Lovelace | LOC: London'
    """
    words, spans = split_words(text), _decode(tags, scheme)
    named = (f"{span.kind}: {' '.join(words[span.start : span.end])}" for span in spans)
    return " | ".join(named) or NO_SPAN


def list_types(tags: str, scheme: Scheme | None) -> str:
    """List the types of the spans of a sentence, or its tags without a scheme.

    Examples:
        >>> list_types("B-PER I-PER O B-LOC", "BIO"), list_types("O O", "BIO")
        ('LOC, PER', '(no span)')
    """
    names = tags.split() if scheme is None else [span.kind for span in _decode(tags, scheme)]
    return ", ".join(sorted({name for name in names if name != NO_TAG})) or NO_SPAN


def name_spans(rows: pl.DataFrame, scheme: Scheme | None, prefix: str = "") -> pl.DataFrame:
    """Replace the tags in `label` and `prediction` by their spans; none without a scheme.

    Args:
        rows: Table `queries` or `train` of a run, with the column `text`.
        scheme: Scheme of the tags.
        prefix: Beginning of the names of the columns, such as `train_`.
    """
    if scheme is None:
        return rows
    texts = rows[f"{prefix}text"].to_list()
    columns = [
        pl.Series(
            name,
            [
                None if tags is None else describe_spans(text, tags, scheme)
                for text, tags in zip(texts, rows[name].to_list(), strict=True)
            ],
            dtype=pl.String,
        )
        for name in (f"{prefix}label", f"{prefix}prediction")
        if name in rows.columns
    ]
    return rows.with_columns(columns)


def _decode(tags: str, scheme: Scheme) -> Sequence[Span]:
    try:
        return decode_spans([OUTSIDE if tag == NO_TAG else tag for tag in tags.split()], scheme)
    except InputError:  # a tag of another form
        return decode_spans(tags.split(), "words")
