"""Image classifiers and their processors from a folder or the hub, with weights and labels checked.

Models of timm are read from the hub, or from folders of the model type timm_wrapper.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    PreTrainedModel,
)

from fastif.data.decoded_image import PillowImage, decode_image
from fastif.errors import InputError
from fastif.models.complete_weights import check_base
from fastif.models.parameters import check_finite
from fastif.models.pixel_shape import read_pixel_shape
from fastif.models.pretrained import from_pretrained, load_classifier
from fastif.models.problem_type import SINGLE_LABEL
from fastif.models.timm_buffers import restore_buffers

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Files with the settings of an image processor, one of which a folder must have."""
TIMM = "timm_wrapper"


def is_timm(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of a model of timm."""
    return config.get("model_type") == TIMM or "pretrained_cfg" in config


def load_image_classifier(
    source: str | Path,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype | None = torch.float32,
    problem_type: str = SINGLE_LABEL,
) -> PreTrainedModel:
    """Load a fine-tuned image classifier from a folder or the Hugging Face hub, and check it.

    Only safetensors are read, and remote code is never run. The model is in evaluation mode.

    Args:
        source: Folder of a saved model, or its name on the hub.
        labels: Label names that the output units must have, in this order; unchecked if None.
        dtype: Type of the weights in memory; None keeps the type in which they were saved.
        problem_type: Problem type that a model with `labels` must have.

    Raises:
        InputError: The model cannot be found, weights are missing, its head has other labels or
            another order, or timm is needed and not installed.
    """
    _require_timm(source)
    model = load_classifier(AutoModelForImageClassification, source, labels, dtype, problem_type)
    return _complete(model)


def load_image_base(
    source: str | Path, labels: Sequence[str], problem_type: str | None = None
) -> PreTrainedModel:
    """Load an image model to fine-tune, with a randomly initialised head of one unit a label.

    Args:
        source: Folder of a saved model, or its name on the hub.
        labels: Label names of the output units.
        problem_type: Problem type that is written into the configuration; None for one class a
            row.

    Raises:
        InputError: The model cannot be found, has no classification head, or lacks other weights.
    """
    _require_timm(source)
    model, report = from_pretrained(
        AutoModelForImageClassification,
        source,
        "model",
        torch.float32,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: unit for unit, label in enumerate(labels)},
        problem_type=problem_type,  # the base was trained on another task
        ignore_mismatched_sizes=True,  # a head of other labels is initialised again
    )
    check_base(model, report, source)
    return _complete(model).eval()


def load_image_encoder(source: str | Path) -> PreTrainedModel:
    """Load the layers below an image model's head, from a folder or the hub.

    Raises:
        InputError: The model cannot be found, lacks weights, or some are not finite.
    """
    _require_timm(source)
    model, report = from_pretrained(AutoModel, source, "model", torch.float32)
    check_base(model, report, source)
    check_finite(model, f"model {source}")
    return _complete(model).eval()


@dataclass(frozen=True, eq=False)
class PixelProcessor:
    """Processor of single images: decoding, and the resizing and normalisation of a model.

    Attributes:
        processor: Image processor of transformers.
        channels: Number of channels that the model reads, 1 or 3.
    """

    processor: Any
    channels: int

    def __call__(self, content: bytes) -> Float[Tensor, "c h w"]:
        """Return the pixel values of an encoded image.

        Raises:
            ImageError: It cannot be decoded.
        """
        return self.process(decode_image(content).pixels)

    def process(self, image: PillowImage) -> Float[Tensor, "c h w"]:
        """Return the pixel values of a decoded image; grey images are repeated in each channel."""
        pixels = image.convert("L" if self.channels == 1 else "RGB")
        return self.processor([pixels], return_tensors="pt")["pixel_values"][0]


def load_image_processor(source: str | Path, model: PreTrainedModel) -> PixelProcessor:
    """Load the image processor of a model by its Pillow backend, which is deterministic.

    Args:
        source: Folder of a saved model, or its name on the hub.
        model: Model that reads the pixel values.

    Raises:
        InputError: It has no preprocessor_config.json, or its pixel values have another number of
            channels or another size than the model reads.
    """
    where = f"image processor {source}"
    if importlib.util.find_spec("PIL") is None:
        remedy = "pip install 'fastif[images]'."
        raise InputError(where, "the library Pillow", "it is not installed", remedy)
    from PIL import Image

    check_processor_files(source)
    loaded = from_pretrained(AutoImageProcessor, source, "image processor", backend="pil")
    channels, height, width = read_pixel_shape(model, where)
    processor = PixelProcessor(loaded, channels)
    try:
        shape = tuple(processor.process(Image.new("RGB", (width, height))).shape)
    except Exception as error:  # settings of a file may raise anything
        raise InputError(
            where,
            "settings by which an image can be processed",
            f"{type(error).__name__}: {error}".splitlines()[0],
            "Save the processor of the training again: `processor.save_pretrained(folder)`.",
        ) from error
    if len(shape) != 3 or shape[0] != channels:
        expected = f"pixel values of {channels} channels, as the model reads"
        remedy = "Use the processor of the model's training."
        raise InputError(where, expected, f"the shape {list(shape)}", remedy)
    return processor


def check_processor_files(source: str | Path) -> None:
    """Refuse a folder without the settings of an image processor.

    Raises:
        InputError: It has none; those of a model of timm are in its config.json.
    """
    folder = Path(source)
    is_bare = folder.is_dir() and not any((folder / name).is_file() for name in PROCESSOR_FILES)
    if is_bare and not is_timm(_read_config(folder)):
        raise InputError(
            f"image processor {source}",
            f"the file {PROCESSOR_FILES[0]} with the size and normalisation of training",
            "none in the model's folder",
            "Save the processor of the training there: `processor.save_pretrained(folder)`.",
        )


def _complete(model: PreTrainedModel) -> PreTrainedModel:
    """Return a loaded model, with the unsaved buffers of one of timm."""
    if is_timm(model.config.to_dict()):
        restore_buffers(model)
    return model


def _require_timm(source: str | Path) -> None:
    """Refuse a model of timm if timm is not installed."""
    if is_timm(_read_config(Path(source))) and importlib.util.find_spec("timm") is None:
        raise InputError(
            f"model {source}",
            "the library timm, of which this model is",
            "it is not installed",
            "pip install 'fastif[timm]'.",
        )


def _read_config(folder: Path) -> dict[str, Any]:
    """Read config.json of a folder; empty if there is none."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
