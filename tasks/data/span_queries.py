"""Queries about single spans of tagged sentences, and about the words outside of them."""

import dataclasses

from fastif.errors import InputError
from fastif.tokens import decode_spans
from fastif.tokens.tag_scheme import OUTSIDE
from tasks.data.table import Table, compute_digest
from tasks.data.tag_repairs import find_scheme
from tasks.data.target_text import UNTAGGED, Target
from tasks.study.errors import Problem, StudyError, join_some

GROUP = "span"
"""Group column with the type of the span that a query is about; O for the other words."""


def expand_by_span(table: Table, labels: list[str] | tuple[str, ...]) -> Table:
    """Return a query for each span of each sentence, and one for its other words.

    The tags of all other words are missing, so that the losses of the queries of a sentence add up
    to its own. Ids are `id:first-last`, with words counted from 1, and `id:O`. The groups have the
    type of the span as the last one.

    Args:
        table: Queries with tags.
        labels: Tags of the study.

    Raises:
        StudyError: A word has no tag, or the tags have no scheme of spans.
    """
    rows = _check_tagged(table)
    scheme = _find_scheme(table, labels)
    places: list[int] = []
    names: list[str] = []
    kinds: list[str | None] = []
    targets: list[Target] = []
    for place, row in enumerate(rows):
        spans = decode_spans([labels[tag] for tag in row], scheme)
        inside = {word for span in spans for word in range(span.start, span.end)}
        units = [(f"{s.start + 1}-{s.end}", s.kind, range(s.start, s.end)) for s in spans]
        rest = [word for word in range(len(row)) if word not in inside]
        units += [(OUTSIDE, OUTSIDE, rest)] if rest else []
        for name, kind, words in units:
            places.append(place)
            names.append(f"{table.ids[place]}:{name}")
            kinds.append(kind)
            targets.append(tuple(t if w in words else UNTAGGED for w, t in enumerate(row)))
    expanded = table.take(places)
    groups = {**expanded.groups, GROUP: kinds}
    digest = compute_digest(names, expanded.texts, None, targets, groups)
    return dataclasses.replace(
        expanded, ids=names, given_labels=targets, groups=groups, digest=digest, notes=table.notes
    )


def _check_tagged(table: Table) -> list[tuple[int, ...]]:
    """Return the tags of each sentence.

    Raises:
        StudyError: A word has none.
    """
    rows = [tuple(map(int, row)) if isinstance(row, tuple) else () for row in table.given_labels]
    bad = [i for i, row in zip(table.ids, rows, strict=True) if not row or UNTAGGED in row]
    if bad:
        got = f"words without one in the sentences {join_some(bad, 5)}"
        change = "tag all words of the queries, or remove by_span"
        problem = Problem("[queries] by_span", "a tag for each word", got, change)
        raise StudyError(table.place, [problem])
    return rows


def _find_scheme(table: Table, labels: list[str] | tuple[str, ...]):
    try:
        scheme = find_scheme(_check_tagged(table), labels)
    except InputError:
        scheme = None
    if scheme is None:
        expected, got = "tags of one scheme of spans, such as BIO", "tags of several schemes"
        change = "correct the tags, or remove by_span"
        raise StudyError(table.place, [Problem("[queries] by_span", expected, got, change)])
    return scheme
