"""Tiny image classifiers with random weights, and images of random pixels."""

import io

import numpy as np
import torch
from PIL import Image
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

LABELS = ("cat", "dog", "owl")
NAMES = {
    "id2label": dict(enumerate(LABELS)),
    "label2id": {label: unit for unit, label in enumerate(LABELS)},
}
TRANSFORMER = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}


def make_image_model(family: str, channels: int = 3, **keys) -> PreTrainedModel:
    """Make a tiny classifier of 16 x 16 pixels, in evaluation mode, with no zero weights."""
    torch.manual_seed(0)
    names = {"image_size": 16, "num_channels": channels, **NAMES, **keys}
    makers = {
        "vit": lambda: ViTForImageClassification(
            ViTConfig(**{"intermediate_size": 16, **TRANSFORMER, **names})
        ),
        "dinov2": lambda: Dinov2ForImageClassification(Dinov2Config(**{**TRANSFORMER, **names})),
        "convnext": lambda: ConvNextForImageClassification(
            ConvNextConfig(
                **{"patch_size": 2, "hidden_sizes": [4, 6], "depths": [1, 1], "num_stages": 2},
                **names,
            )
        ),
        "resnet": lambda: ResNetForImageClassification(
            ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], **names)
        ),
        "swin": lambda: SwinForImageClassification(
            SwinConfig(embed_dim=4, depths=[1, 1], num_heads=[1, 2], window_size=2, patch_size=2,
                       **names)
        ),
    }  # fmt: skip
    model = makers[family]()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer += torch.rand_like(buffer)
    return model.eval()


def encode_png(pixels: np.ndarray, kind: str = "PNG", **keys) -> bytes:
    """Encode pixels as an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **keys)
    return file.getvalue()


def make_files(count: int, side: int = 16, seed: int = 0) -> list[bytes]:
    """Make PNG files of random pixels."""
    rng = np.random.default_rng(seed)
    return [encode_png(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(count)]
