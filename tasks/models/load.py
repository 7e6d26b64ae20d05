"""Loading of a study's model by its kind: of texts, words, images or trees, or one's own."""

from pathlib import Path

import torch

from tasks.data.inputs import Inputs
from tasks.models.image_model import load_image_model
from tasks.models.loaded_model import LoadedModel
from tasks.models.own_model import load_own_model
from tasks.models.query_targets import make_measure_function
from tasks.models.text_model import load_text_model
from tasks.models.token_model import load_token_model
from tasks.models.tree_model import load_tree_model
from tasks.study.target_kind import TAGS


def load_study_model(
    inputs: Inputs, folder: Path, digest: str, device: torch.device
) -> LoadedModel:
    """Load the model of a folder with the study's loss, and its way to read a table.

    Args:
        inputs: Study and tables.
        folder: Folder of the model, or the file of boosted trees.
        digest: Digest of the model with which the run was planned.
        device: Device of the model.

    Raises:
        InputError: The model does not fit the study.
    """
    if inputs.study.has_trees:
        model = load_tree_model(inputs, folder)
    elif inputs.study.model_kind == "own":
        model = load_own_model(inputs, folder, digest, device)
    elif inputs.study.model_kind == "image":
        model = load_image_model(inputs, folder, device)
    elif inputs.study.target == TAGS:
        model = load_token_model(inputs, folder, device)
    else:
        model = load_text_model(inputs, folder, device)
    model.objective.per_example_backward = inputs.study.run.one_by_one
    model.objective.measure = make_measure_function(inputs.study)
    return model
