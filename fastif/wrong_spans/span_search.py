"""Search for wrong spans by out-of-fold marginals of tags and the consistency of forms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.tokens import Span, compare_spans
from fastif.tokens.span_comparison import DifferenceKind
from fastif.wrong_spans.error_model import fit_error_model, stack_features
from fastif.wrong_spans.injected_errors import inject_errors
from fastif.wrong_spans.sentence_spans import SentenceSpans
from fastif.wrong_spans.span_doubts import SpanDoubt
from fastif.wrong_spans.span_evidence import (
    GIVEN_KINDS,
    MAX_LENGTH,
    MISSED_KINDS,
    SpanEvidence,
    list_evidence,
    list_signs,
)
from fastif.wrong_spans.surface_index import SurfaceIndex
from fastif.wrong_spans.tag_chain import fit_chain
from fastif.wrong_spans.tagged_words import TaggedWords
from fastif.wrong_spans.word_features import make_word_features
from fastif.wrong_spans.word_head import WordData, cross_fit_words

INJECTED_RATE, TRIALS = 0.04, 4
"""Share of the spans with an injected error, of each kind, and number of times it is done."""
PRIOR_RATES = {GIVEN_KINDS: 0.02, MISSED_KINDS: 0.06}
"""Number of errors of each kind for each given span, by the prior."""
FOLDS = 5
DENSE_NORM = 2.5
"""Mean norm of the standardized embeddings, next to surface features of norm 1."""


@dataclass(frozen=True, eq=False)
class SpanSearch:
    """Search for wrong spans of tagged sentences.

    A head predicts the tag of each word out of fold, and a chain makes the probabilities of spans
    from it. Evidence against a given span is its probability, those of spans of each kind of error,
    and the annotations of the same words elsewhere. Its weights are those that detect errors which
    are injected in the same sentences, and the rate of errors of each kind is estimated, so the
    result is one probability for each span.

    Attributes:
        embeddings: Embedding of every word, [w d]; None for surface features alone.
        log_probabilities: Log probabilities of the BIO tags of every word by another model that was
            not trained on them, [w c]; None to fit heads.
        seed: Random seed of folds and injected errors.
        folds: Number of folds.
    """

    embeddings: Float[Tensor, "w d"] | None = None
    log_probabilities: Float[Tensor, "w c"] | None = None
    seed: int = 0
    folds: int = FOLDS

    def __call__(self, words: TaggedWords) -> list[SpanDoubt]:
        """Return a doubt for every given span and every span that may be missed.

        Those with the largest probability of an error come first.

        Raises:
            InputError: All sentences are in one group.
        """
        seeds = range(self.seed, self.seed + TRIALS)
        injected = [inject_errors(words, INJECTED_RATE, seed) for seed in seeds]
        rows, *trials = self._list_evidence(words, injected)
        doubts: list[SpanDoubt] = []
        num_given = sum(map(len, words.spans))
        for kinds in (GIVEN_KINDS, MISSED_KINDS):
            own = [row for row in rows if row.kinds == kinds]
            examples: list[tuple[tuple[float, ...], DifferenceKind | None]] = [
                (row.features, _find_injected(row, words, after))
                for after, trial in zip(injected, trials, strict=True)
                for row in trial
                if row.kinds == kinds
            ]
            if own and examples:
                doubts += _weigh(own, examples, kinds, TRIALS * PRIOR_RATES[kinds] * num_given)
        return sorted(doubts, key=lambda doubt: (-doubt.probability, doubt.sentence, doubt.place))

    def _list_evidence(
        self, words: TaggedWords, injected: Sequence[TaggedWords]
    ) -> list[list[SpanEvidence]]:
        """List the evidence on the given spans, and on those with injected errors.

        All of it is from the heads of the given tags, so that noise is not added to what they know.
        """
        embeddings = self.embeddings
        normalized = None if embeddings is None else torch.nn.functional.normalize(embeddings)
        versions = [words, *injected]
        indices = [SurfaceIndex(version, normalized) for version in versions]
        result: list[list[SpanEvidence]] = [[] for _ in versions]
        for sentence in self._compute_spans(words, max(each.longest for each in versions)):
            for rows, index in zip(result, indices, strict=True):
                rows += list_evidence(sentence, index.words.spans[sentence.row], index)
        return result

    def _compute_spans(self, words: TaggedWords, longest: int) -> Iterator[SentenceSpans]:
        log_probabilities = self._predict(words).double()
        rows = words.split(log_probabilities)
        model = fit_chain(rows, words.split(words.tags))
        for row, own in enumerate(rows):
            chain = model.make_chain(own)
            spans = chain.compute_span_probabilities(min(longest + 1, MAX_LENGTH))
            yield SentenceSpans(row, chain, spans, own, list(words.kinds))

    def _predict(self, words: TaggedWords) -> Float[Tensor, "w c"]:
        if self.log_probabilities is not None:
            return self.log_probabilities
        dense = None if self.embeddings is None else standardize(self.embeddings)
        data = WordData(make_word_features(words.sentences), dense, words.word_groups)
        logits = cross_fit_words(data, words.tags, words.classes, self.folds, self.seed)
        return logits.log_softmax(1)


def standardize(embeddings: Float[Tensor, "w d"]) -> Float[Tensor, "w d"]:
    """Return embeddings with mean 0 and equal variances, of mean squared norm `DENSE_NORM`²."""
    deviation = embeddings.std(0).clamp_min(1e-6)
    return (embeddings - embeddings.mean(0)) / deviation * DENSE_NORM / embeddings.shape[1] ** 0.5


def _weigh(
    rows: Sequence[SpanEvidence],
    examples: Sequence[tuple[tuple[float, ...], DifferenceKind | None]],
    kinds: Sequence[DifferenceKind],
    expected: float,
) -> Iterator[SpanDoubt]:
    """Iterate over the doubts, with their probability by the injected errors."""
    numbers = {None: 0} | {kind: number for number, kind in enumerate(kinds, 1)}
    model = fit_error_model(
        stack_features([features for features, _ in examples]),
        torch.tensor([numbers[kind] for _, kind in examples]),
        torch.tensor(list_signs(kinds)),
        expected,
    )
    possible = torch.tensor([[kind in row.suggestions for kind in kinds] for row in rows])
    values = model.compute_probabilities(stack_features([row.features for row in rows]), possible)
    for row, probabilities in zip(rows, values, strict=True):
        kind = kinds[int(probabilities.argmax())]
        total = min(float(probabilities.sum()), 1.0)
        yield SpanDoubt(row.sentence, kind, row.given, row.suggestions[kind], total)


def _find_injected(
    row: SpanEvidence, words: TaggedWords, injected: TaggedWords
) -> DifferenceKind | None:
    """Return the kind of the error that was injected there; None if there is none."""
    before, after = words.spans[row.sentence], injected.spans[row.sentence]
    if row.given is not None:
        if row.given in before:
            return None
        return next(d.kind for d in compare_spans(after, before) if d.given == row.given)
    place = row.suggestions["missed"]
    missed = list_missed(after, before)
    return "missed" if place and any(map(place.overlaps, missed)) else None


def list_missed(given: Sequence[Span], true: Sequence[Span]) -> list[Span]:
    """List the true spans that are in no given one's place."""
    differences = compare_spans(given, true)
    return [d.other for d in differences if d.kind == "missed" and d.other is not None]
