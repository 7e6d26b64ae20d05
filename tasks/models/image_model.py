"""Image classifier of a study: its model, checked against the study, and its encoded tables."""

from pathlib import Path

import torch

from fastif import InputError
from fastif.data.image_examples import ImageExamples, ImageProcessor
from fastif.models.image_classifier import ImageObjective
from fastif.models.image_pretrained import load_image_classifier, load_image_processor
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.models.loaded_model import LoadedModel
from tasks.models.target_outputs import (
    check_output_count,
    get_output_names,
    get_problem_type,
    make_query_loss,
    make_targets,
    make_training_loss,
)
from tasks.study.study import Study


def load_image_model(inputs: Inputs, folder: Path, device: torch.device) -> LoadedModel:
    """Load the image classifier of a folder with the study's loss.

    Raises:
        InputError: The model or its processor does not fit the study.
    """
    study = inputs.study
    names, problem_type = get_output_names(study), get_problem_type(study)
    model = load_image_classifier(folder, names, problem_type=problem_type)
    check_output_count(study, model.config.num_labels)
    processor = load_image_processor(folder, model)
    model.to(device)  # type: ignore[arg-type]
    objective = ImageObjective(
        model,
        study.parameters.selection,
        make_training_loss(study, inputs.train),
        make_query_loss(study),
        study.penalty,
    )
    return LoadedModel(objective, lambda table: encode_images(study, table, processor, device))


def encode_images(
    study: Study, table: Table, processor: ImageProcessor, device: torch.device
) -> ImageExamples:
    """Return a table as inputs of an image model, which are decoded batch by batch.

    Raises:
        InputError: The table has pixels and no encoded images.
    """
    images = table.measurements.encoded if table.measurements is not None else None
    if images is None:
        raise InputError(
            f"column {study.train.image} of {table.place}",
            "encoded images, such as PNG or JPEG, or paths of their files",
            "one byte per pixel, which has no height and width",
            "Save the images as files, for instance by Pillow.",
        )
    labels = make_targets(study, table)
    return ImageExamples(images, labels, processor, device, study.run.batch_size)
