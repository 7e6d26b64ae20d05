"""Texts as rows of numbers, by an encoder that has not seen their labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import (
    Batch,
    Examples,
    Selected,
    batches,
)
from fastif.models.model_inputs import inputs_of
from fastif.models.padding import (
    Padding,
    each,
    placed,
    run_by_length,
    settled,
)
from fastif.models.probe_batch import sample

TRIED = 4
"""Texts on which padding is tried."""


@torch.no_grad()
def mean_pooled(
    encoder: PreTrainedModel, examples: Examples, ids: Int[Tensor, " m"], batch_size: int = 64
) -> Float[Tensor, "m 2 d"]:
    """The mean of hidden states over the tokens of each text, in order of `ids`.

    Those of the middle layer and those of the last: what is said, and what it amounts to. Texts
    are padded where that changes nothing of a text read alone, and else not at all.

    Args:
        encoder: a model without a head.
        examples: tokenised texts.
        ids: which of them.
        batch_size: texts at once.
    """
    padding = _padding(encoder, examples.take(ids[sample(Selected(examples, ids), TRIED)]))
    places, rows = [], []
    for where, batch in batches(examples, ids, batch_size):
        places.append(where)
        found = run_by_length(padding, placed(batch, padding), lambda one: _pooled(encoder, one))
        rows.append(found.float().cpu())
    return torch.cat(rows)[torch.cat(places).argsort()]


def _pooled(encoder: PreTrainedModel, batch: Batch) -> Float[Tensor, "b 2 d"]:
    said = encoder(**inputs_of(encoder, batch), output_hidden_states=True)
    middle = said.hidden_states[(len(said.hidden_states) - 1) // 2]
    hidden = torch.stack([middle, said.last_hidden_state], 1)
    mask = batch["attention_mask"][:, None, :, None].to(hidden)
    return (hidden * mask).sum(2) / mask.sum(2).clamp_min(1)


def _padding(encoder: PreTrainedModel, batch: Batch) -> Padding:
    """The side on which padding changes nothing of what the encoder says of some texts."""

    def run(part: Batch) -> Tensor:
        return _pooled(encoder, part)

    alone = torch.cat([run(row) for row in each(batch)])
    token = getattr(encoder.config.get_text_config(), "pad_token_id", None)
    first = Padding("right", -1 if token is None else token)
    return settled(first, batch, alone, run) or Padding(None, first.token)


def compared(first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """A pair of texts as one row: both, how they differ and what they share (Conneau, 2017).

    >>> compared(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    tensor([[1., 3., 2., 3.]])
    """
    return torch.cat([first, second, (first - second).abs(), first * second], 1)
