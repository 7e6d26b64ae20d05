"""Texts as rows of numbers, by an encoder that has not seen their labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.examples import Examples, batches


@torch.no_grad()
def mean_pooled(
    encoder: PreTrainedModel, examples: Examples, ids: Int[Tensor, " m"], batch_size: int = 64
) -> Float[Tensor, "m d"]:
    """The mean of the last layer's hidden states over the tokens of each text, in order of `ids`.

    Args:
        encoder: a model without a head.
        examples: tokenised texts.
        ids: which of them.
        batch_size: texts at once.
    """
    places, rows = [], []
    for where, batch in batches(examples, ids, batch_size):
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        hidden = encoder(**inputs).last_hidden_state
        mask = batch["attention_mask"][:, :, None].to(hidden)
        places.append(where)
        rows.append(((hidden * mask).sum(1) / mask.sum(1).clamp_min(1)).float().cpu())
    return torch.cat(rows)[torch.cat(places).argsort()]


def compared(first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """A pair of texts as one row: both, how they differ and what they share (Conneau, 2017).

    >>> compared(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    tensor([[1., 3., 2., 3.]])
    """
    return torch.cat([first, second, (first - second).abs(), first * second], 1)
