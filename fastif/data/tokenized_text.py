"""Tokenized texts of unequal length, padded batch by batch."""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from fastif.data.arrays import check_batch_size, check_label_count
from fastif.data.examples import BATCH_SIZE, Batch, LabeledExamples
from fastif.data.lookahead import Lookahead
from fastif.errors import InputError

Side = Literal["right", "left"]
"""Side of a token sequence on which padding is added."""


class TextExamples(LabeledExamples):
    """Tokenized texts; each batch is padded to its longest text. `encode` makes them from strings.

    Args:
        tokens: Token ids of each text.
        segments: Token type ids of each text; None for a model without them.
        labels: Targets [n *t] of the texts.
        truncated: Whether each text was longer than the maximum length and was truncated.
        padding: Token id of padding.
        device: Device of the batches.
        batch_tokens: Largest number of tokens in a batch, including padding; None for no limit.
        side: Side on which padding is added, "right" or "left".
        batch_size: Number of texts whose gradients are held at once.

    Raises:
        InputError: The numbers of texts and labels differ, or the batch size is below 1.

    Examples:
        >>> tokens = [torch.tensor([5, 6, 7]), torch.tensor([8])]
        >>> labels, truncated = torch.tensor([0, 1]), torch.tensor([False, False])
        >>> texts = TextExamples(tokens, None, labels, truncated, padding=0)
        >>> texts.take(torch.tensor([0, 1]))["input_ids"]
        tensor([[5, 6, 7],
                [8, 0, 0]])
    """

    def __init__(
        self,
        tokens: Sequence[Int[Tensor, " _"]],
        segments: Sequence[Int[Tensor, " _"]] | None,
        labels: Shaped[Tensor, "n *t"],
        truncated: Bool[Tensor, " n"],
        padding: int,
        device: torch.device | str = "cpu",
        batch_tokens: int | None = None,
        side: Side = "right",
        batch_size: int = BATCH_SIZE,
    ) -> None:
        check_label_count(len(tokens), len(labels), "TextExamples")
        check_batch_size(batch_size)
        self.tokens, self.segments, self.labels = tokens, segments, labels
        self._truncated, self.padding, self.device = truncated, padding, device
        self.lookahead = Lookahead(device)
        self._batch_tokens, self.batch_size = batch_tokens, batch_size
        self.side: Side = side
        self._equal_lengths = False
        self._lengths = torch.tensor([len(row) for row in tokens])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        return self._lengths

    @property
    def truncated(self) -> Bool[Tensor, " n"]:
        return self._truncated

    @property
    def batch_tokens(self) -> int | None:
        return self._batch_tokens

    @property
    def equal_lengths(self) -> bool:
        return self._equal_lengths

    def with_equal_lengths(self, enabled: bool = True) -> "TextExamples":
        """Return a view of the same tokens in batches of equal lengths, so without padding."""
        other = copy.copy(self)
        other._equal_lengths = enabled
        return other

    def to_device(self, device: torch.device | str) -> "TextExamples":
        """Return a view of the same tokens with batches on another device."""
        other = copy.copy(self)
        other.device, other.lookahead = device, Lookahead(device)
        return other

    def announce(self, ids: Int[Tensor, " b"]) -> None:
        self.lookahead.announce(ids, self._collate)

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        return self.lookahead.take(ids, self._collate)

    def _collate(self, ids: Int[Tensor, " b"]) -> Batch:
        """Return a batch on the host."""
        positions = ids.tolist()
        lengths = self._lengths[ids]
        is_token = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        batch = {
            "input_ids": self._pad(self.tokens, positions, self.padding),
            "attention_mask": is_token.flip(1) if self.side == "left" else is_token,
            "labels": self.labels[ids],
        }
        if self.segments is not None:
            batch["token_type_ids"] = self._pad(self.segments, positions, 0)
        return batch

    def _pad(self, rows: Sequence[Tensor], positions: Sequence[int], value: int) -> Tensor:
        selected = [rows[i] for i in positions]
        return pad_sequence(selected, batch_first=True, padding_value=value, padding_side=self.side)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    labels: Sequence[int] | Shaped[Tensor, "n *t"],
    max_length: int,
    device: torch.device | str = "cpu",
    batch_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> TextExamples:
    """Tokenize texts, or pairs of texts, truncated to `max_length` tokens.

    Padding follows the tokenizer. Token type ids that are all zero are omitted: models use zeros by
    default. `TextExamples.truncated` marks the truncated texts.

    Args:
        tokenizer: Hugging Face tokenizer.
        texts: First or only text of each example.
        pairs: Second text of each example; None for single texts.
        labels: Class number of each example, or targets [n *t] of another loss.
        max_length: Largest number of tokens, including special tokens.
        device: Device of the batches.
        batch_tokens: Largest number of tokens in a batch, including padding; None for no limit.
        batch_size: Number of texts whose gradients are held at once.

    Raises:
        InputError: A text has no token, the tokenizer does not truncate, or `max_length` leaves no
            room for a token of each text.

    Examples:
        >>> from transformers import BertTokenizerFast
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad"]
        >>> tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
        >>> texts = encode(tokenizer, ["good", "bad good"], None, [1, 0], max_length=8)
        >>> texts.take(torch.tensor([0, 1]))["input_ids"]
        tensor([[2, 4, 3, 0],
                [2, 5, 4, 3]])
    """
    second = None if pairs is None else list(pairs)
    encoded = tokenizer(list(texts), second, verbose=False)
    rows = [torch.tensor(row) for row in encoded["input_ids"]]
    truncated = torch.tensor([len(row) > max_length for row in rows])
    if truncated.any():
        _check_min_length(tokenizer, second is not None, max_length)
    token_types = encoded.get("token_type_ids")
    segments = None if token_types is None else [torch.tensor(row) for row in token_types]
    for i in truncated.nonzero().flatten().tolist():
        # In a list, since a tokenizer drops an empty second text that is given alone.
        pair = None if second is None else [second[i]]
        shortened = tokenizer([str(texts[i])], pair, truncation=True, max_length=max_length)
        rows[i] = torch.tensor(shortened["input_ids"][0])
        if segments is not None:
            segments[i] = torch.tensor(shortened["token_type_ids"][0])
    _check_token_counts(rows, max_length)
    if segments is not None and not any(bool(row.any()) for row in segments):
        segments = None
    padding = int(str(tokenizer.pad_token_id or 0))
    side = "left" if tokenizer.padding_side == "left" else "right"
    labelled = labels if torch.is_tensor(labels) else torch.tensor(list(labels))
    return TextExamples(
        rows, segments, labelled, truncated, padding, device, batch_tokens, side, batch_size
    )


def _check_min_length(tokenizer: PreTrainedTokenizerBase, paired: bool, max_length: int) -> None:
    """Refuse a length that leaves no token of a text; tokenizers may not truncate to it."""
    special, texts = tokenizer.num_special_tokens_to_add(paired), 2 if paired else 1
    if max_length < special + texts:
        raise InputError(
            "[model] max_length",
            f"at least {special + texts}: {special} special tokens, and one token of each text",
            f"{max_length}",
            f"Set max_length = {special + texts} or more.",
        )


def _check_token_counts(rows: Sequence[Tensor], max_length: int) -> None:
    """Refuse texts that the tokenizer did not truncate, and texts without tokens."""
    lengths = torch.tensor([len(row) for row in rows])
    uncut, empty = (lengths > max_length).nonzero()[:, 0], (lengths == 0).nonzero()[:, 0]
    if len(uncut):
        raise InputError(
            "[model] max_length",
            f"texts that the tokenizer can truncate to {max_length} tokens",
            f"{len(uncut)} that it leaves longer, such as row {int(uncut[0]) + 1}",
            "Raise max_length, or shorten these texts.",
        )
    if len(empty):
        raise InputError(
            "text",
            "one token or more in every text",
            f"none in {len(empty)} texts, such as row {int(empty[0]) + 1}",
            "Remove these rows, or fill in text with tokens of the tokenizer's vocabulary.",
        )
