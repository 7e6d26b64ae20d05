"""Search for wrong spans by out-of-fold marginals of tags and the consistency of forms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.tokens import Span, compare_spans
from fastif.wrong_spans.error_model import (
    estimate_probabilities,
    fit_error_model,
    stack_features,
)
from fastif.wrong_spans.injected_errors import inject_errors
from fastif.wrong_spans.span_doubts import (
    MAX_LENGTH,
    NUM_SIGNED,
    SentenceSpans,
    SpanDoubt,
    list_doubts,
)
from fastif.wrong_spans.surface_index import SurfaceIndex
from fastif.wrong_spans.tag_chain import fit_chain
from fastif.wrong_spans.tagged_words import TaggedWords
from fastif.wrong_spans.word_features import make_word_features
from fastif.wrong_spans.word_head import WordData, cross_fit_words

INJECTED_RATE = 0.04
"""Share of the spans with a injected error, of each kind."""
FOLDS = 5
DENSE_NORM = 2.5
"""Mean norm of the standardized embeddings, next to surface features of norm 1."""


@dataclass(frozen=True, eq=False)
class SpanSearch:
    """Search for wrong spans of tagged sentences.

    A head predicts the tag of each word out of fold, and a chain makes the probabilities of spans
    from it. Evidence against a given span is its probability, that of its best alternative, and the
    annotations of the same words elsewhere. Its weights are those that detect errors which are
    injected in the same sentences, and the rate of errors is estimated, so the result is one
    calibrated probability for each span.

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
        data = self._make_data(words)
        doubts = self._list_doubts(words, data)
        injected = inject_errors(words, INJECTED_RATE, self.seed)
        trials = self._list_doubts(injected, data)
        probabilities = torch.zeros(len(doubts), dtype=torch.float64)
        for missed in (False, True):
            places = [i for i, doubt in enumerate(doubts) if (doubt.given is None) == missed]
            examples = [doubt for doubt in trials if (doubt.given is None) == missed]
            if not places or not examples:
                continue
            truth = torch.tensor([_is_injected(doubt, words, injected) for doubt in examples])
            evidence = stack_features([doubt.features for doubt in examples])
            model = fit_error_model(evidence, truth, NUM_SIGNED)
            ratios = model.compute_log_ratio(stack_features([doubts[i].features for i in places]))
            probabilities[places] = estimate_probabilities(ratios)[0]
        rows = [
            replace(doubt, probability=float(probability))
            for doubt, probability in zip(doubts, probabilities, strict=True)
        ]
        return sorted(rows, key=lambda doubt: (-doubt.probability, doubt.sentence, doubt.place))

    def _make_data(self, words: TaggedWords) -> WordData | None:
        if self.log_probabilities is not None:
            return None
        dense = None if self.embeddings is None else standardize(self.embeddings)
        return WordData(make_word_features(words.sentences), dense, words.word_groups)

    def _list_doubts(self, words: TaggedWords, data: WordData | None) -> list[SpanDoubt]:
        log_probabilities = self._predict(words, data).double()
        rows = words.split(log_probabilities)
        model = fit_chain(rows, words.split(words.tags))
        embeddings = self.embeddings
        normalized = None if embeddings is None else torch.nn.functional.normalize(embeddings)
        index, doubts = SurfaceIndex(words, normalized), []
        longest = min(words.longest + 1, MAX_LENGTH)
        for row, own in enumerate(rows):
            chain = model.make_chain(own)
            spans = chain.compute_span_probabilities(longest)
            sentence = SentenceSpans(row, chain, spans, own, list(words.kinds))
            doubts += list_doubts(sentence, words.spans[row], index)
        return doubts

    def _predict(self, words: TaggedWords, data: WordData | None) -> Float[Tensor, "w c"]:
        if data is None:
            assert self.log_probabilities is not None
            return self.log_probabilities
        logits = cross_fit_words(data, words.tags, words.classes, self.folds, self.seed)
        return logits.log_softmax(1)


def standardize(embeddings: Float[Tensor, "w d"]) -> Float[Tensor, "w d"]:
    """Return embeddings with mean 0 and equal variances, of mean squared norm `DENSE_NORM`²."""
    deviation = embeddings.std(0).clamp_min(1e-6)
    return (embeddings - embeddings.mean(0)) / deviation * DENSE_NORM / embeddings.shape[1] ** 0.5


def _is_injected(doubt: SpanDoubt, words: TaggedWords, injected: TaggedWords) -> bool:
    """Whether the annotation in doubt differs from that before errors were injected."""
    before, after = words.spans[doubt.sentence], injected.spans[doubt.sentence]
    if doubt.given is not None:
        return doubt.given not in before
    return any(span.overlaps(doubt.place) for span in list_missed(after, before))


def list_missed(given: Sequence[Span], true: Sequence[Span]) -> list[Span]:
    """List the true spans that are in no given one's place."""
    differences = compare_spans(given, true)
    return [d.other for d in differences if d.kind == "missed" and d.other is not None]
