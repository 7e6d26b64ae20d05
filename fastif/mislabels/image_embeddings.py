"""Image embeddings: mean-pooled feature maps or patches of a model below its head."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import FORWARD_BATCH_SIZE, Batch, Examples
from fastif.errors import InputError


@torch.no_grad()
def embed_rows(
    embed: Callable[[Batch], Float[Tensor, "b d"]],
    examples: Examples,
    ids: Int[Tensor, " m"],
    batch_size: int = FORWARD_BATCH_SIZE,
) -> Float[Tensor, "m d"]:
    """Embed rows batch by batch; return embeddings in the order of `ids`, [m, d].

    Args:
        embed: Function from a batch to its embeddings.
        examples: Rows to embed.
        ids: Positions of the rows to embed, [m].
        batch_size: Rows in a forward pass without gradients.
    """
    positions, embeddings = [], []
    for places, batch in examples.batches(ids, batch_size):
        positions.append(places)
        embeddings.append(embed(batch).float().cpu())
    return torch.cat(embeddings)[torch.cat(positions).argsort()]


def pool_hidden_states(encoder: PreTrainedModel, batch: Batch) -> Float[Tensor, "b d"]:
    """Embed images by mean pooling: mean of the last hidden state over patches or positions.

    The pooler of the model is not used: below the head of a classifier it is often untrained.

    Args:
        encoder: Image model without a classification head.
        batch: Images, processed for the encoder.

    Raises:
        InputError: The model returns no hidden states of patches or positions.
    """
    hidden = encoder(pixel_values=batch["pixel_values"]).last_hidden_state
    if hidden.dim() not in (3, 4):
        raise InputError(
            f"model {encoder.config._name_or_path or type(encoder).__name__}",
            "hidden states of patches [b t d] or positions [b c h w]",
            f"{list(hidden.shape)}",
            "Use an encoder such as ViT, DINOv2, ConvNeXt, ResNet or Swin.",
        )
    return hidden.mean(1) if hidden.dim() == 3 else hidden.mean((2, 3))
