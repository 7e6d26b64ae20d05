"""Hidden states at the truncation point of a model, for rows of equal or different lengths."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import Batch
from fastif.models.cut_check import TruncatedModel
from fastif.models.model_inputs import select_model_inputs
from fastif.models.padding import Padding, group_by_length


@torch.no_grad()
def compute_hidden_states(
    cut: TruncatedModel, model: PreTrainedModel, padding: Padding, batch: Batch
) -> Float[Tensor, "b t d"]:
    """Return the hidden states of a batch at the truncation point, zero at padding.

    Args:
        cut: Truncated model.
        model: Full model.
        padding: Padding with which rows of different lengths share a forward pass.
        batch: Examples with this padding.
    """
    if padding.side is not None:
        hidden = cut.compute_hidden_states(model, select_model_inputs(model, batch))
        mask = batch.get("attention_mask")
        return hidden if mask is None else hidden.masked_fill(mask[..., None] == 0, 0)
    groups = [
        (places, cut.compute_hidden_states(model, select_model_inputs(model, group)))
        for places, group in group_by_length(batch)
    ]
    like = groups[0][1]
    hidden = like.new_zeros(*batch["input_ids"].shape, like.shape[-1])
    for places, states in groups:
        hidden[places, : states.shape[1]] = states
    return hidden
