"""Padding of rows of different lengths: side, token, or no padding at all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import Batch
from fastif.data.tokenized_text import Side
from fastif.models.single_precision import is_within_rounding
from fastif.numerics.deferred_checks import assume_all

NO_TOKEN = -1
NOTES = {
    "right": None,
    "left": "rows are padded on the left, since padding on the right changes outputs",
    None: "only rows of equal length share a forward pass, since padding changes outputs",
}
TOKENIZER_NOTE = (
    "batches padded by the tokenizer have other outputs than their texts alone, by its side or its "
    "padding token: outputs here are those of texts alone, a training on padded batches had others"
)
"""Note for a tokenizer that pads otherwise than the model expects."""

SIDES: tuple[Side | None, ...] = ("right", "left", None)
"""Sides of padding in the order in which they are tried."""


@dataclass(frozen=True)
class Padding:
    """Padding with which rows of different lengths share a forward pass.

    Attributes:
        side: Side of the padding; None if the outputs depend on it on either side, so that only
            rows of equal length share a forward pass.
        token: Token id of the padding; -1, which is no token, if the model has none.
    """

    side: Side | None
    token: int

    @property
    def note(self) -> str | None:
        """Sentence on padding other than on the right; None for that."""
        return NOTES[self.side]


def align_padding(batch: Batch, padding: Padding) -> Batch:
    """Move the rows to one side and fill masked positions with the padding token.

    The result does not depend on the side and the token of the padding before.
    """
    mask = batch.get("attention_mask")
    if mask is None:
        return batch
    is_token, width = (mask != 0).long(), mask.shape[1]
    start = width - is_token.flip(1).argmax(1) if padding.side == "left" else is_token.argmax(1)
    order = (torch.arange(width, device=mask.device) + start[:, None]) % width
    reordered = {name: _reorder_tokens(batch[name], order) for name in list_token_tensors(batch)}
    if "input_ids" in reordered and padding.token >= 0:
        ids, is_padding = reordered["input_ids"], reordered["attention_mask"] == 0
        reordered["input_ids"] = ids.masked_fill(is_padding, padding.token)
    return {**batch, **reordered}


def run_by_length(padding: Padding, batch: Batch, run: Callable[[Batch], Tensor]) -> Tensor:
    """Run all rows of a batch, in one pass or in one pass for each length."""
    if padding.side is not None or "attention_mask" not in batch:
        return run(batch)
    if assume_all(batch["attention_mask"] != 0):  # one length, as in batches of equal lengths
        return run(batch)
    groups = list(group_by_length(batch))
    if len(groups) == 1:
        return run(groups[0][1])
    places = torch.cat([places for places, _ in groups])
    return torch.cat([run(group) for _, group in groups])[places.argsort()]


def select_padding(
    padding: Padding, batch: Batch, expected: Tensor, run: Callable[[Batch], Tensor]
) -> Padding | None:
    """Return the first side, from the present one on, on which padding changes no outputs.

    Args:
        padding: Present padding.
        batch: Rows of different lengths, with two of equal length.
        expected: Outputs of `run` for each row alone.
        run: Function of rows that may share a forward pass.

    Returns:
        The padding; None if every side changes outputs.
    """
    for side in SIDES[SIDES.index(padding.side) :]:
        candidate = replace(padding, side=side)
        try:
            outputs = run_by_length(candidate, align_padding(batch, candidate), run)
        except Exception:  # a model may accept no batch at all, or no padding
            continue
        if is_within_rounding(outputs, expected):
            return candidate
    return None


def group_by_length(batch: Batch) -> Iterator[tuple[Int[Tensor, " _"], Batch]]:
    """Yield the rows of each length without padding, with their positions in the batch."""
    lengths = span_lengths(batch["attention_mask"])
    for length in lengths.unique():
        places = (lengths == length).nonzero().flatten()
        yield places, select_unpadded_rows(batch, places, int(length))


def iterate_rows(batch: Batch) -> Iterator[Batch]:
    """Yield every row alone and without padding."""
    rows = torch.arange(len(batch["input_ids"]))
    if "attention_mask" not in batch:
        yield from ({name: t[row : row + 1] for name, t in batch.items()} for row in rows.tolist())
        return
    lengths = span_lengths(batch["attention_mask"]).tolist()
    for row, length in zip(rows.split(1), lengths, strict=True):
        yield select_unpadded_rows(batch, row.to(batch["input_ids"].device), length)


def select_unpadded_rows(batch: Batch, places: Int[Tensor, " m"], length: int) -> Batch:
    """Return rows of one length without padding."""
    selected = {name: tensor[places] for name, tensor in batch.items()}
    start = (selected["attention_mask"] != 0).long().argmax(1)
    order = start[:, None] + torch.arange(length, device=start.device)
    return {
        **selected,
        **{name: _reorder_tokens(selected[name], order) for name in list_token_tensors(batch)},
    }


def remove_padding(batch: Batch) -> list[Float[Tensor, "*x"]]:
    """Return the hidden states of every row: one for each of its tokens, or of a whole image."""
    mask = batch.get("attention_mask")
    if mask is None:
        return list(batch["hidden"])
    return [row[is_token] for row, is_token in zip(batch["hidden"], mask != 0, strict=True)]


def add_padding(rows: Sequence[Tensor], batch: Batch) -> Float[Tensor, "b *x"]:
    """Put hidden states at the tokens of the batch, and zeros elsewhere."""
    mask = batch.get("attention_mask")
    if mask is None:
        return torch.stack(list(rows))
    hidden = rows[0].new_zeros(*mask.shape, rows[0].shape[-1])
    hidden[mask != 0] = torch.cat(list(rows))
    return hidden


def span_lengths(mask: Int[Tensor, "b t"]) -> Int[Tensor, " b"]:
    """Return the number of tokens of each row from the first real one to the last, at least 1."""
    is_token = (mask != 0).long()
    return (mask.shape[1] - is_token.flip(1).argmax(1) - is_token.argmax(1)).clamp_min(1)


def list_token_tensors(batch: Batch) -> list[str]:
    """Return the names of a batch's tensors with an entry for each token."""
    shape = batch["attention_mask"].shape
    return [name for name, t in batch.items() if name != "labels" and t.shape[:2] == shape]


def _reorder_tokens(tensor: Tensor, order: Int[Tensor, "b t"]) -> Tensor:
    rows = torch.arange(len(order), device=order.device)[:, None]
    return tensor[rows, order]


def get_padding_token(model: PreTrainedModel) -> int:
    """Return the model's padding token; -1 if it has none, and disable padding in it.

    A token outside of the vocabulary is in no text, and its embedding cannot be read.
    """
    config = model.config.get_text_config()
    token, size = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if token is None or (isinstance(size, int) and token >= size):
        config.pad_token_id = NO_TOKEN
    return config.pad_token_id


@contextmanager
def restored_padding_token(model: PreTrainedModel) -> Iterator[None]:
    """Context manager in which a model without padding token has none in its configuration.

    A saved model refuses padded batches then, as the base did.
    """
    config = model.config.get_text_config()
    disabled = getattr(config, "pad_token_id", None) == NO_TOKEN
    if disabled:
        config.pad_token_id = None
    try:
        yield
    finally:
        if disabled:
            config.pad_token_id = NO_TOKEN
