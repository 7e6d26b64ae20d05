"""Shape of the pixel values that an image model reads, and random images of that shape."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from fastif.errors import InputError

DEFAULT_SIDE = 64
"""Side of probe images of a model whose configuration names none; it reads any size."""
DEFAULT_CHANNELS = 3
PROBE_ROWS = 3


def read_pixel_shape(model: PreTrainedModel, where: str) -> tuple[int, int, int]:
    """Read channels, height and width of a model's images from its configuration.

    Args:
        model: Image model.
        where: Name of the model for the error message.

    Raises:
        InputError: The model reads something else than pixel values.
    """
    if model.main_input_name != "pixel_values":
        raise InputError(
            where,
            "an image classifier that reads pixel values",
            f"{type(model).__name__}, which reads {model.main_input_name}",
            "Use a classifier such as ViT, ConvNeXt, ResNet, Swin or DINOv2.",
        )
    config = getattr(model.config, "vision_config", model.config)
    pretrained = getattr(config, "pretrained_cfg", None) or {}
    if pretrained.get("input_size"):  # of timm
        channels, height, width = pretrained["input_size"]
        return int(channels), int(height), int(width)
    side = getattr(config, "image_size", None) or DEFAULT_SIDE
    height, width = (side, side) if isinstance(side, int) else tuple(side)[-2:]
    return getattr(config, "num_channels", DEFAULT_CHANNELS), int(height), int(width)


def make_probe_images(model: PreTrainedModel, shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """Return a batch of random images, each with the label 0."""
    generator = torch.Generator().manual_seed(0)
    weight = next(p for p in model.parameters() if p.is_floating_point())
    pixels = torch.randn(PROBE_ROWS, *shape, generator=generator).to(weight)
    labels = torch.zeros(PROBE_ROWS, dtype=torch.long, device=weight.device)
    return {"pixel_values": pixels, "labels": labels}
