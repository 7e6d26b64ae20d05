"""Texts as examples: tokens of unequal length."""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from fastif.data.arrays import check_batch_size, check_label_count
from fastif.data.examples import BATCH_SIZE, Batch, Examples
from fastif.errors import InputError

Side = Literal["right", "left"]
"""Of a row of tokens, on which the padding stands."""


class TextExamples(Examples):
    """Tokenised texts; a batch is padded to its own longest example.

    Attributes:
        truncated: which examples were longer than `max_length` and have been cut.
        batch_tokens: tokens that a batch may hold, padding among them; None for any number.
        side: of a row on which the padding stands.
        equal_lengths: only texts of equal length share a batch, so that none is padded.
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
        self.truncated, self.padding, self.device = truncated, padding, device
        self._batch_tokens, self.side, self.batch_size = batch_tokens, side, batch_size
        self._equal_lengths = False
        self._lengths = torch.tensor([len(row) for row in tokens])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        return self._lengths

    @property
    def batch_tokens(self) -> int | None:
        return self._batch_tokens

    @property
    def equal_lengths(self) -> bool:
        return self._equal_lengths

    def with_equal_lengths(self, enabled: bool = True) -> "TextExamples":
        """The same tokens, held once, of which only those of equal length share a batch."""
        other = copy.copy(self)
        other._equal_lengths = enabled
        return other

    def to_device(self, device: torch.device | str) -> "TextExamples":
        """The same tokens, held once, whose batches are made on another device."""
        other = copy.copy(self)
        other.device = device
        return other

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
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
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _pad(self, rows: Sequence[Tensor], positions: Sequence[int], value: int) -> Tensor:
        selected = [rows[i] for i in positions]
        return pad_sequence(selected, batch_first=True, padding_value=value, padding_side=self.side)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    labels: Sequence[int],
    max_length: int,
    device: torch.device | str = "cpu",
    batch_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> TextExamples:
    """Tokenise texts, or pairs of texts, cut to `max_length` tokens; what was cut is counted.

    Padded as the tokenizer pads. Token types that are all alike are left out: a model that knows
    several kinds takes the first where it is given none.

    Raises:
        InputError: a text has no token, or `max_length` leaves no room for one of each text.
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
        pair = None if second is None else second[i]
        shortened = tokenizer(str(texts[i]), pair, truncation=True, max_length=max_length)
        rows[i] = torch.tensor(shortened["input_ids"])
        if segments is not None:
            segments[i] = torch.tensor(shortened["token_type_ids"])
    _check_token_counts(rows, max_length)
    if segments is not None and not any(bool(row.any()) for row in segments):
        segments = None
    padding = int(str(tokenizer.pad_token_id or 0))
    side = "left" if tokenizer.padding_side == "left" else "right"
    labelled = torch.tensor(list(labels))
    return TextExamples(
        rows, segments, labelled, truncated, padding, device, batch_tokens, side, batch_size
    )


def _check_min_length(tokenizer: PreTrainedTokenizerBase, paired: bool, max_length: int) -> None:
    """Refuse a length at which nothing of a text is left, or at which it would not be cut."""
    special, texts = tokenizer.num_special_tokens_to_add(paired), 2 if paired else 1
    if max_length < special + texts:
        raise InputError(
            "[model] max_length",
            f"at least {special + texts}: {special} special tokens, and one of each text",
            f"{max_length}",
            f"Set max_length = {special + texts} or more.",
        )


def _check_token_counts(rows: Sequence[Tensor], max_length: int) -> None:
    """Refuse what the tokenizer did not cut, and texts that are nothing to it."""
    lengths = torch.tensor([len(row) for row in rows])
    uncut, empty = (lengths > max_length).nonzero()[:, 0], (lengths == 0).nonzero()[:, 0]
    if len(uncut):
        raise InputError(
            "[model] max_length",
            f"texts that the tokenizer can cut to {max_length} tokens",
            f"{len(uncut)} that it leaves longer, such as row {int(uncut[0]) + 1}",
            "Raise max_length, or shorten these texts.",
        )
    if len(empty):
        raise InputError(
            "text",
            "one token or more in every text",
            f"none in {len(empty)} texts, such as row {int(empty[0]) + 1}",
            "Remove these rows, or fill them with what the tokenizer knows.",
        )
