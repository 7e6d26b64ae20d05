"""Image embeddings: mean-pooled feature maps or patches of a model below its head."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import FORWARD_BATCH_SIZE, Examples
from fastif.errors import InputError


@torch.no_grad()
def mean_pool_images(
    encoder: PreTrainedModel,
    examples: Examples,
    ids: Int[Tensor, " m"],
    batch_size: int = FORWARD_BATCH_SIZE,
) -> Float[Tensor, "m d"]:
    """Embed images by mean pooling: mean of the last hidden state over patches or positions.

    The pooler of the model is not used: below the head of a classifier it is often untrained.

    Args:
        encoder: Image model without a classification head.
        examples: Images to embed, processed for the encoder.
        ids: Positions of the images to embed, [m].
        batch_size: Images in a forward pass without gradients.

    Returns:
        Embeddings in the order of `ids`, [m, d].

    Raises:
        InputError: The model returns no hidden states of patches or positions.
    """
    positions, embeddings = [], []
    for places, batch in examples.batches(ids, batch_size):
        hidden = encoder(pixel_values=batch["pixel_values"]).last_hidden_state
        if hidden.dim() not in (3, 4):
            raise InputError(
                f"model {encoder.config._name_or_path or type(encoder).__name__}",
                "hidden states of patches [b t d] or positions [b c h w]",
                f"{list(hidden.shape)}",
                "Use an encoder such as ViT, DINOv2, ConvNeXt, ResNet or Swin.",
            )
        pooled = hidden.mean(1) if hidden.dim() == 3 else hidden.mean((2, 3))
        positions.append(places)
        embeddings.append(pooled.float().cpu())
    return torch.cat(embeddings)[torch.cat(positions).argsort()]
