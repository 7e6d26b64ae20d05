"""Texts as examples: tokens of unequal length."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from fastif.examples import Batch, Examples


class TextExamples(Examples):
    """Tokenised texts; a batch is padded to its own longest example.

    Attributes:
        truncated: which examples were longer than `max_length` and have been cut.
        batch_tokens: tokens that a batch may hold, padding among them; None for any number.
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
    ) -> None:
        self.tokens, self.segments, self.labels = tokens, segments, labels
        self.truncated, self.padding, self.device = truncated, padding, device
        self._batch_tokens = batch_tokens
        self._lengths = torch.tensor([len(row) for row in tokens])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        return self._lengths

    @property
    def batch_tokens(self) -> int | None:
        return self._batch_tokens

    def on(self, device: torch.device | str) -> "TextExamples":
        """The same tokens, held once, whose batches are made on another device."""
        other = copy.copy(self)
        other.device = device
        return other

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        picked = ids.tolist()
        lengths = self._lengths[ids]
        batch = {
            "input_ids": _pad([self.tokens[i] for i in picked], self.padding),
            "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
            "labels": self.labels[ids],
        }
        if self.segments is not None:
            batch["token_type_ids"] = _pad([self.segments[i] for i in picked], 0)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    labels: Sequence[int],
    max_length: int,
    device: torch.device | str = "cpu",
    batch_tokens: int | None = None,
) -> TextExamples:
    """Tokenise texts, or pairs of texts, cut to `max_length` tokens; what was cut is counted."""
    second = None if pairs is None else list(pairs)
    encoded = tokenizer(list(texts), second, verbose=False)
    rows = [torch.tensor(row) for row in encoded["input_ids"]]
    truncated = torch.tensor([len(row) > max_length for row in rows])
    kinds = encoded.get("token_type_ids")
    segments = None if kinds is None else [torch.tensor(row) for row in kinds]
    for i in truncated.nonzero().flatten().tolist():
        pair = None if second is None else second[i]
        cut = tokenizer(str(texts[i]), pair, truncation=True, max_length=max_length)
        rows[i] = torch.tensor(cut["input_ids"])
        if segments is not None:
            segments[i] = torch.tensor(cut["token_type_ids"])
    padding = int(str(tokenizer.pad_token_id or 0))
    labelled = torch.tensor(list(labels))
    return TextExamples(rows, segments, labelled, truncated, padding, device, batch_tokens)


def _pad(rows: Sequence[Tensor], value: int) -> Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_value=value)
