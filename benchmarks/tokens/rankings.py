"""Rankings of the places of tagged sentences that may be wrong, and their average precision."""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.tokens import Span, compare_spans
from fastif.wrong_spans.span_doubts import SpanDoubt
from fastif.wrong_spans.tagged_words import TaggedWords

Place = tuple[int, Span | None, Span]
"""Sentence, given span (None outside of all), and the words in doubt."""


def rank_doubts(doubts: Iterable[SpanDoubt]) -> list[Place]:
    """Return the places of a search, in its order."""
    return [(doubt.sentence, doubt.given, doubt.place) for doubt in doubts]


def rank_by_words(words: TaggedWords, scores: Float[Tensor, " w"]) -> list[Place]:
    """Rank given spans by their worst word, and words outside of all spans by themselves.

    Args:
        words: Sentences with given spans.
        scores: Score of each word, larger if its tag is more doubtful.
    """
    rows: list[tuple[float, Place]] = []
    for sentence, own in enumerate(words.split(scores)):
        spans = words.spans[sentence]
        rows += [(float(own[s.start : s.end].max()), (sentence, s, s)) for s in spans]
        for word in range(len(own)):
            place = Span(word, word + 1, "")
            if not any(map(place.overlaps, spans)):
                rows.append((float(own[word]), (sentence, None, place)))
    return [place for _, place in sorted(rows, key=lambda row: -row[0])]


def compute_precision(places: Sequence[Place], given: TaggedWords, true: TaggedWords) -> float:
    """Return the average precision of places over all wrong and missed spans.

    A missed span counts once, at the first place that overlaps it; further places of it count
    neither way. Errors at no place are never found.
    """
    wrong: set[tuple[int, Span]] = set()
    missed: dict[int, list[Span]] = {}
    for row, pair in enumerate(zip(given.spans, true.spans, strict=True)):
        for difference in compare_spans(*pair):
            if difference.given is not None:
                wrong.add((row, difference.given))
            elif difference.other is not None:
                missed.setdefault(row, []).append(difference.other)
    count = len(wrong) + sum(map(len, missed.values()))
    counted: set[tuple[int, Span]] = set()
    read, total = 0, 0.0
    for row, span, place in places:
        errors = [(row, other) for other in missed.get(row, []) if other.overlaps(place)]
        errors = errors if span is None else [(row, span)] if (row, span) in wrong else []
        fresh = [error for error in errors if error not in counted]
        if errors and not fresh:
            continue
        read += 1
        if fresh:
            counted.update(fresh[:1])
            total += len(counted) / read
    return total / count


def count_errors(given: TaggedWords, true: TaggedWords) -> int:
    """Return the number of wrong and missed spans."""
    pairs = zip(given.spans, true.spans, strict=True)
    return sum(len(list(compare_spans(*pair))) for pair in pairs)


def score_by_loss(words: TaggedWords, probabilities: Float[Tensor, "w c"]) -> Float[Tensor, " w"]:
    """Return the out-of-fold loss of every given tag."""
    return -probabilities.gather(1, words.tags[:, None])[:, 0].clamp_min(1e-12).log()


def score_by_peer(method: str) -> Callable[[TaggedWords, Tensor], Tensor]:
    """Return cleanlab's score of tokens by a method, turned so that more doubt is larger."""

    def score(words: TaggedWords, probabilities: Tensor) -> Tensor:
        from cleanlab.token_classification.rank import (  # pyright: ignore[reportMissingImports]
            get_label_quality_scores,
        )

        labels = [row.tolist() for row in words.split(words.tags)]
        rows = [row.numpy() for row in words.split(probabilities)]
        _, scores = get_label_quality_scores(labels, rows, token_score_method=method)
        return 1 - torch.cat([torch.tensor(row.to_numpy()) for row in scores])

    return score
