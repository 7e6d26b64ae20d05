"""A tiny ViT that is trained on scikit-learn's digits 0, 1 and 7, and its study of PNG files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from tests.tiny import fit

LABELS = ["0", "1", "7"]
TRAIN, QUERIES = 60, 12
STEPS = 150


def read_digits() -> tuple[np.ndarray, list[str]]:
    """Pixels from 0 to 255, [n, 8, 8], and labels of the three classes."""
    digits: Any = load_digits()
    rows = np.isin(digits.target, [int(label) for label in LABELS])
    pixels = (digits.images[rows] * 15.9).astype(np.uint8)
    return pixels, [str(label) for label in digits.target[rows]]


def write_images(folder: Path, pixels: np.ndarray, labels: list[str], start: int = 0) -> None:
    """Write images into a folder for each class, named by their position."""
    for position, (image, label) in enumerate(zip(pixels, labels, strict=True), start):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{position:03}.png")


def write_model(folder: Path, pixels: np.ndarray, labels: list[str]) -> ViTForImageClassification:
    """Train a ViT of 8 x 8 pixels, and save it with its processor."""
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=8, patch_size=4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        **names,
    )  # fmt: skip
    model = ViTForImageClassification(config)
    values = torch.from_numpy(pixels).float()[:, None].expand(-1, 3, -1, -1) / 127.5 - 1
    fit(model, {"pixel_values": values}, torch.tensor([LABELS.index(n) for n in labels]), STEPS,
        3e-3)  # fmt: skip
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return model.eval()


def write_image_study(folder: Path, **changes: str) -> Path:
    """Write model, folders of images by class, and a study of them; return the study's path."""
    pixels, labels = read_digits()
    wrong = [LABELS[(LABELS.index(label) + 1) % 3] if i < 3 else label
             for i, label in enumerate(labels[:TRAIN])]  # fmt: skip
    write_images(folder / "train", pixels[:TRAIN], wrong)
    end = TRAIN + QUERIES
    write_images(folder / "queries", pixels[TRAIN:end], labels[TRAIN:end], TRAIN)
    write_model(folder / "model", pixels[:TRAIN], wrong)
    text = f"""name = "digits"
labels = ["0", "1", "7"]
[model]
path = "model"
[train]
table = "train"
image = "image"
label = "label"
id = "path"
[queries]
table = "queries"
image = "image"
label = "label"
id = "path"
[parameters]
attributed = "{changes.get("attributed", "last:1")}"
[curvature]
damping = 0.1
[candidates]
kind = "full"
[store]
path = "store"
{changes.get("more", "")}
"""
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"
