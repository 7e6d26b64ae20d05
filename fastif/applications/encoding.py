"""Texts as rows of numbers, by an encoder that has not seen their labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.examples import Examples, batches


@torch.no_grad()
def mean_pooled(
    encoder: PreTrainedModel, examples: Examples, ids: Int[Tensor, " m"], batch_size: int = 64
) -> Float[Tensor, "m 2 d"]:
    """The mean of hidden states over the tokens of each text, in order of `ids`.

    Those of the middle layer and those of the last: what is said, and what it amounts to.

    Args:
        encoder: a model without a head.
        examples: tokenised texts.
        ids: which of them.
        batch_size: texts at once.
    """
    places, rows = [], []
    for where, batch in batches(examples, ids, batch_size):
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        said = encoder(**inputs, output_hidden_states=True)
        middle = said.hidden_states[(len(said.hidden_states) - 1) // 2]
        hidden = torch.stack([middle, said.last_hidden_state], 1)
        mask = batch["attention_mask"][:, None, :, None].to(hidden)
        places.append(where)
        rows.append(((hidden * mask).sum(2) / mask.sum(2).clamp_min(1)).float().cpu())
    return torch.cat(rows)[torch.cat(places).argsort()]


def compared(first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """A pair of texts as one row: both, how they differ and what they share (Conneau, 2017).

    >>> compared(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    tensor([[1., 3., 2., 3.]])
    """
    return torch.cat([first, second, (first - second).abs(), first * second], 1)
