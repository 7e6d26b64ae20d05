"""Trial of an image model on a sample of rows: predictions of the labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

import fastif
from fastif.data.image_examples import ImageExamples
from fastif.models.image_classifier import ImageObjective
from fastif.models.image_pretrained import (
    PixelProcessor,
    load_image_classifier,
    load_image_processor,
)
from tasks.data.image_files import is_image_folder
from tasks.data.images import read_images
from tasks.runtime.devices import resolve_devices
from tasks.study.device_names import AUTO


@dataclass(frozen=True, eq=False)
class ImageTrial:
    """Loaded image model that predicts a sample of rows.

    Attributes:
        objective: Classifier with its loss.
        processor: Image processor of the classifier.
    """

    objective: ImageObjective
    processor: PixelProcessor

    def predict_images(self, column: pl.Series, table: Path) -> np.ndarray | None:
        """Return the log probability of every output for each image, [n, c].

        Args:
            column: Images, or paths of them.
            table: File or folder of the table.

        Returns:
            Log probabilities; None for pixels that are no encoded images.

        Raises:
            StudyError: An image cannot be decoded.
        """
        folder = table if is_image_folder(table) else table.parent
        images = read_images(column, str(table), folder).encoded
        if images is None:
            return None
        labels = torch.zeros(len(images), dtype=torch.long)
        device = self.objective.like.device
        examples = ImageExamples(images, labels, self.processor, device)
        with torch.no_grad():
            outputs, _ = fastif.predict(self.objective, examples)
        return outputs.double().log_softmax(1).cpu().numpy()


def load_image_trial(folder: Path) -> ImageTrial:
    """Load the model and the image processor of a folder.

    Raises:
        InputError: They cannot be loaded, or do not fit each other.
    """
    model = load_image_classifier(folder)
    processor = load_image_processor(folder, model)
    model.to(resolve_devices(AUTO)[0].torch)  # type: ignore[arg-type]
    plain = fastif.CrossEntropy()
    return ImageTrial(ImageObjective(model, "head", plain, plain), processor)
