"""Padding: on which side of a row it stands, by which token, or never."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import Batch
from fastif.data.tokenized_text import Side
from fastif.models.single_precision import is_within_rounding

NO_TOKEN = -1

SIDES: tuple[Side | None, ...] = ("right", "left", None)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class Padding:
    """How rows of unlike length share a forward pass of a model.

    Attributes:
        side: where the padding stands; None if the outputs depend on it on either side, so that
            only rows of equal length share a forward pass.
        token: the id of the padding; -1, which is no token, if the model has none.
    """

    side: Side | None
    token: int


def align_padding(batch: Batch, padding: Padding) -> Batch:
    """The batch with its rows on the side of `padding`, and its token wherever the mask is 0.

    The result does not depend on where the padding stood before, nor on its token.
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
    """What `run` gives for all rows of a batch, in one pass or in one for each length."""
    if padding.side is not None or "attention_mask" not in batch:
        return run(batch)
    groups = list(group_by_length(batch))
    if len(groups) == 1:
        return run(groups[0][1])
    places = torch.cat([places for places, _ in groups])
    return torch.cat([run(group) for _, group in groups])[places.argsort()]


def select_padding(
    padding: Padding, batch: Batch, expected: Tensor, run: Callable[[Batch], Tensor]
) -> Padding | None:
    """The first side, from the present one on, on which padding changes nothing; None if all do.

    Args:
        padding: the present one.
        batch: rows of unlike length, two of them of one.
        expected: what `run` gives for each of them by itself.
        run: takes rows that may share a forward pass.
    """
    for side in SIDES[SIDES.index(padding.side) :]:
        candidate = replace(padding, side=side)
        try:
            outputs = run_by_length(candidate, align_padding(batch, candidate), run)
        except Exception:  # a model may take no batch at all, or no padding
            continue
        if is_within_rounding(outputs, expected):
            return candidate
    return None


def group_by_length(batch: Batch) -> Iterator[tuple[Int[Tensor, " _"], Batch]]:
    """The rows of each length without their padding, after their places in the batch."""
    lengths = span_lengths(batch["attention_mask"])
    for length in lengths.unique():
        places = (lengths == length).nonzero().flatten()
        yield places, select_unpadded_rows(batch, places, int(length))


def iterate_rows(batch: Batch) -> Iterator[Batch]:
    """Every row by itself, without its padding."""
    rows = torch.arange(len(batch["input_ids"]))
    if "attention_mask" not in batch:
        yield from ({name: t[row : row + 1] for name, t in batch.items()} for row in rows.tolist())
        return
    lengths = span_lengths(batch["attention_mask"]).tolist()
    for row, length in zip(rows.split(1), lengths, strict=True):
        yield select_unpadded_rows(batch, row.to(batch["input_ids"].device), length)


def select_unpadded_rows(batch: Batch, places: Int[Tensor, " m"], length: int) -> Batch:
    """Rows of one length without their padding, on whichever side it stands."""
    selected = {name: tensor[places] for name, tensor in batch.items()}
    start = (selected["attention_mask"] != 0).long().argmax(1)
    order = start[:, None] + torch.arange(length, device=start.device)
    return {
        **selected,
        **{name: _reorder_tokens(selected[name], order) for name in list_token_tensors(batch)},
    }


def remove_padding(batch: Batch) -> list[Float[Tensor, "_ d"]]:
    """The hidden states of every row, one for each of its tokens."""
    mask = batch.get("attention_mask")
    if mask is None:
        return list(batch["hidden"])
    return [row[is_token] for row, is_token in zip(batch["hidden"], mask != 0, strict=True)]


def add_padding(rows: Sequence[Float[Tensor, "_ d"]], batch: Batch) -> Float[Tensor, "b t d"]:
    """Hidden states of every row where the batch has its tokens, and zeros elsewhere."""
    mask = batch.get("attention_mask")
    if mask is None:
        return torch.stack(list(rows))
    hidden = rows[0].new_zeros(*mask.shape, rows[0].shape[-1])
    hidden[mask != 0] = torch.cat(list(rows))
    return hidden


def span_lengths(mask: Int[Tensor, "b t"]) -> Int[Tensor, " b"]:
    """The tokens of each row from its first real one to its last; at least 1."""
    is_token = (mask != 0).long()
    return (mask.shape[1] - is_token.flip(1).argmax(1) - is_token.argmax(1)).clamp_min(1)


def list_token_tensors(batch: Batch) -> list[str]:
    """The tensors of a batch that have an entry a token."""
    shape = batch["attention_mask"].shape
    return [name for name, t in batch.items() if name != "labels" and t.shape[:2] == shape]


def _reorder_tokens(tensor: Tensor, order: Int[Tensor, "b t"]) -> Tensor:
    rows = torch.arange(len(order), device=order.device)[:, None]
    return tensor[rows, order]


def get_padding_token(model: PreTrainedModel) -> int:
    """The model's own; -1 if it has none, and then it takes no token for padding."""
    config = model.config.get_text_config()
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = NO_TOKEN
    return config.pad_token_id
