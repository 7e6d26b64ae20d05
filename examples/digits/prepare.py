"""Make images, wrong labels and model of this example from scikit-learn's digits.

    python examples/digits/prepare.py

It writes, into the folder `out` next to this file, `train` and `queries` with a folder for each
label, `flipped.csv` with the labels that were made wrong, and `model/head.safetensors`.
"""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_digits import CLASSES, HEAD, WIDTH, Backbone, collate
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

TRAIN, QUERIES, FLIPPED = 600, 200, 30
PENALTY = 0.01
"""L2 penalty of the head, ½ PENALTY ‖parameters‖²; weight_decay of the study."""
OUT = Path(__file__).parent / "out"


def write_image(pixels: np.ndarray, folder: Path, label: int, number: int) -> Path:
    """Write an image into the folder of its label, and return its path."""
    path = folder / f"{label}" / f"{number:04}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(path)
    return path


def write_data(folder: Path, train: int = TRAIN, queries: int = QUERIES) -> list[tuple[Path, int]]:
    """Write both folders of images, 1 label in 20 of the first wrong; return its images and labels.

    Args:
        folder: Folder of all that this example writes; it is emptied.
        train: Number of training images.
        queries: Number of queries.
    """
    shutil.rmtree(folder, ignore_errors=True)
    digits: Any = load_digits()
    random = np.random.default_rng(0)
    order = random.permutation(len(digits.target))
    labels = digits.target.copy()
    flipped = order[: train * FLIPPED // TRAIN]
    labels[flipped] = (labels[flipped] + random.integers(1, CLASSES, len(flipped))) % CLASSES
    rows = [
        (write_image(digits.images[i], folder / "train", labels[i], i), int(labels[i]))
        for i in order[:train].tolist()
    ]
    for i in order[train : train + queries].tolist():
        write_image(digits.images[i], folder / "queries", labels[i], i)
    with (folder / "flipped.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "true"])
        names = [f"{labels[i]}/{i:04}.png" for i in flipped.tolist()]
        writer.writerows(zip(names, labels[flipped], digits.target[flipped], strict=True))
    return rows


@torch.no_grad()
def compute_features(paths: list[Path]) -> Tensor:
    """Return the backbone's features of image files, [n 1280]."""
    backbone = Backbone().eval()
    parts = [paths[start : start + 64] for start in range(0, len(paths), 64)]
    return torch.cat(
        [backbone(collate({"image": path.read_bytes()} for path in part)) for part in parts]
    )


def fit_head(features: Tensor, labels: Tensor) -> nn.Linear:
    """Fit a linear head by L-BFGS to the optimum of its penalised cross-entropy."""
    head = nn.Linear(WIDTH, CLASSES)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def compute_loss() -> Tensor:
        optimizer.zero_grad()
        square = sum(parameter.square().sum() for parameter in head.parameters())
        loss = nn.functional.cross_entropy(head(features), labels) + PENALTY / 2 * square
        loss.backward()
        return loss

    optimizer.step(compute_loss)
    return head


def main() -> None:
    """Write images, list of wrong labels, and model."""
    rows = write_data(OUT)
    features = compute_features([path for path, _ in rows])
    labels = torch.tensor([label for _, label in rows])
    head = fit_head(features, labels)
    (OUT / "model").mkdir()
    save_file(head.state_dict(), OUT / "model" / HEAD)
    accuracy = float((head(features).argmax(1) == labels).double().mean())
    print(f"{len(rows):,} training images; the head predicts {accuracy:.0%} of their labels")


if __name__ == "__main__":
    main()
