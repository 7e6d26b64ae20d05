"""Tokenized sentences with a label for each word, for token classification."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.data.arrays import check_label_count
from fastif.data.examples import BATCH_SIZE, Batch
from fastif.data.lookahead import Lookahead
from fastif.data.tokenized_text import Side, TextExamples
from fastif.errors import InputError
from fastif.losses.token_cross_entropy import IGNORED

NO_SLOT = -1

WordPlaces = Sequence[tuple[int, int]]
"""Sub-words with a label: position among the tokens of the sentence, and number of the word."""


class TaggedSentences(TextExamples):
    """Tokenized sentences with a label for each word; `encode_words` makes them.

    A batch holds "labels" [b k], the labels of each sentence's k labelled sub-words, padded with
    -100, and "slots" [b t], the place among these of every token, -1 for those without a label. The
    loss is `TokenCrossEntropy`, and the objective `TokenObjective`.

    An example is a sentence. `select_words` makes examples of some words of a sentence, such as a
    span, with the same tokens; effects of the parts add up to that of the sentence.

    Args:
        tokens: Token ids of each sentence.
        segments: Token type ids of each sentence; None for a model without them.
        word_places: Labelled sub-words of each sentence.
        word_labels: Class number of each word of each sentence, -100 for one to ignore.
        padding: Token id of padding.
        side: Side on which padding is added, "right" or "left".
        device: Device of the batches.
        batch_tokens: Largest number of tokens in a batch, including padding; None for no limit.
        batch_size: Number of sentences whose gradients are held at once.
        sentence_ids: Sentence of each example; the position of the example by default.

    Attributes:
        word_counts: Number of words [n] of each sentence.
        unread_counts: Number of words [n] that the model does not read: those behind the maximum
            length, and those without any sub-word.
        sentence_ids: Sentence [n] of each example.

    Raises:
        InputError: An example has no labelled word.
    """

    def __init__(
        self,
        tokens: Sequence[Int[Tensor, " _"]],
        segments: Sequence[Int[Tensor, " _"]] | None,
        word_places: Sequence[WordPlaces],
        word_labels: Sequence[Sequence[int]],
        unread_counts: Sequence[int],
        truncated: Sequence[bool],
        padding: int,
        side: Side = "right",
        device: torch.device | str = "cpu",
        batch_tokens: int | None = None,
        batch_size: int = BATCH_SIZE,
        sentence_ids: Sequence[int] | None = None,
    ) -> None:
        check_label_count(len(tokens), len(word_places), "TaggedSentences")
        self.word_labels, self._segments_given = word_labels, segments
        self.unread_counts = torch.tensor(list(unread_counts))
        self.sentence_ids = torch.tensor(list(sentence_ids or range(len(tokens))))
        self.word_places = self._select_places(word_places, word_labels)
        self._check_labelled()
        super().__init__(
            tokens,
            segments,
            self._make_labels(),
            torch.tensor(list(truncated)),
            padding,
            device,
            batch_tokens,
            side,
            batch_size,
        )

    @property
    def word_counts(self) -> Int[Tensor, " n"]:
        return torch.tensor([len(labels) for labels in self.word_labels])

    @property
    def label_counts(self) -> Int[Tensor, " n"]:
        """Number of labelled sub-words of each example."""
        return (self.labels != IGNORED).sum(1)

    @property
    def mean_label_count(self) -> float:
        """Mean number of labelled sub-words, the divisor of `TokenCrossEntropy` for a word mean."""
        return float(self.label_counts.double().mean())

    def list_words(self, index: int) -> list[int]:
        """List the numbers of the words of an example that are read and have a label."""
        return sorted({word for _, word in self.word_places[index]})

    def select_words(self, units: Sequence[tuple[int, Sequence[int]]]) -> "TaggedSentences":
        """Return examples of some words of a sentence each, such as the words of a span.

        Args:
            units: Position of an example here, and the numbers of its words to keep.

        Raises:
            InputError: A unit has a word that is not there, has no label or is not read.
        """
        for index, words in units:
            missing = set(words) - set(self.list_words(index))
            if missing or not words:
                raise InputError(
                    f"words of sentence {index}",
                    f"words with a label that the model reads, of {len(self.word_labels[index])}",
                    ", ".join(map(str, sorted(missing))) or "none",
                    "Leave these words out; words behind the maximum length have no effect.",
                )
        rows = [index for index, _ in units]
        places = [
            [(token, word) for token, word in self.word_places[index] if word in set(words)]
            for index, words in units
        ]
        return TaggedSentences(
            [self.tokens[row] for row in rows],
            None if self.segments is None else [self.segments[row] for row in rows],
            places,
            [self.word_labels[row] for row in rows],
            self.unread_counts[rows].tolist(),
            self.truncated[rows].tolist(),
            self.padding,
            self.side,
            self.device,
            self.batch_tokens,
            self.batch_size,
            self.sentence_ids[rows].tolist(),
        )

    def with_word_labels(self, word_labels: Sequence[Sequence[int]]) -> "TaggedSentences":
        """Return the same sentences with other labels of their words.

        Args:
            word_labels: Class number of each word of each sentence, -100 for one to ignore; a word
                that has no label here is ignored.

        Raises:
            InputError: A sentence has no labelled word that is read.
        """
        other = copy.copy(self)
        other.lookahead = Lookahead(self.device)
        other.word_labels = word_labels
        other.word_places = self._select_places(self.word_places, word_labels)
        other._check_labelled()
        other.labels = other._make_labels()
        return other

    def arrange_labels(
        self, word_labels: Sequence[Sequence[int]], ids: Int[Tensor, " b"]
    ) -> Int[Tensor, "b k"]:
        """Return labels of the words of some sentences as targets of their outputs.

        Args:
            word_labels: Class number of each word of each sentence, -100 for one to ignore.
            ids: Positions of the sentences.
        """
        rows = torch.full((len(ids), self.labels.shape[1]), IGNORED)
        for row, (position, given) in enumerate(zip(ids.tolist(), word_labels, strict=True)):
            places = self.word_places[position]
            rows[row, : len(places)] = torch.tensor([given[word] for _, word in places])
        return rows

    def predict_words(
        self, outputs: Float[Tensor, "b n"], ids: Int[Tensor, " b"]
    ) -> list[tuple[int, ...]]:
        """Return the most probable class of each labelled word, by its first labelled sub-word.

        Args:
            outputs: Outputs of a `TokenObjective` for these sentences.
            ids: Positions of the sentences.

        Returns:
            Class numbers of all words of each sentence, -100 for those without a label here.
        """
        classes = outputs.view(len(outputs), self.labels.shape[1], -1).argmax(2).tolist()
        predicted = []
        for row, position in zip(classes, ids.tolist(), strict=True):
            words = [IGNORED] * len(self.word_labels[position])
            for slot, (_, word) in reversed([*enumerate(self.word_places[position])]):
                words[word] = row[slot]
            predicted.append(tuple(words))
        return predicted

    def split_words(self) -> "TaggedSentences":
        """Return one example for each labelled word, sentence by sentence, in order."""
        return self.select_words(
            [(index, [word]) for index in range(len(self)) for word in self.list_words(index)]
        )

    @staticmethod
    def _select_places(
        word_places: Sequence[WordPlaces], word_labels: Sequence[Sequence[int]]
    ) -> list[WordPlaces]:
        return [
            [(token, word) for token, word in places if labels[word] != IGNORED]
            for places, labels in zip(word_places, word_labels, strict=True)
        ]

    def _check_labelled(self) -> None:
        empty = [place for place, row in enumerate(self.word_places) if not row]
        if empty:
            raise InputError(
                "sentences",
                "a labelled word that the tokenizer reads in every sentence",
                f"none in {len(empty)} sentences, such as sentence {empty[0] + 1}",
                "Remove these sentences.",
            )

    def _make_labels(self) -> Int[Tensor, "n k"]:
        width = max(map(len, self.word_places), default=1)
        labels = torch.full((len(self.word_places), width), IGNORED)
        for row, (places, given) in enumerate(zip(self.word_places, self.word_labels, strict=True)):
            labels[row, : len(places)] = torch.tensor([given[word] for _, word in places])
        return labels

    def _collate(self, ids: Int[Tensor, " b"]) -> Batch:
        batch, positions = super()._collate(ids), ids.tolist()
        slots = [torch.full((len(self.tokens[i]),), NO_SLOT) for i in positions]
        for row, position in zip(slots, positions, strict=True):
            for slot, (token, _) in enumerate(self.word_places[position]):
                row[token] = slot
        return {**batch, "slots": self._pad(slots, range(len(slots)), NO_SLOT)}
