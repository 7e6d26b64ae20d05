"""Model of a study that is a file of boosted trees."""

from pathlib import Path

import torch

from fastif.trees.trace_training import FitSettings
from fastif.trees.tree_objective import TreeObjective, TreeRows
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.models.loaded_model import LoadedModel
from tasks.models.target_outputs import make_targets, weight_rows
from tasks.study.study import Study
from tasks.study.target_kind import CLASS
from tasks.trees.feature_matrix import make_matrix
from tasks.trees.open_trees import combine_settings, make_tree_targets, open_trees


def load_tree_model(inputs: Inputs, file: Path) -> LoadedModel:
    """Read boosted trees, and repeat their training on the study's rows.

    Args:
        inputs: Study and tables.
        file: File of LightGBM, XGBoost or CatBoost.

    Raises:
        StudyError: Labels or target are not those of the model.
        InputError: The model is not supported, or does not follow from the training rows.
    """
    study = inputs.study
    settings = combine_settings(FitSettings(), study.trees)
    opened = open_trees(study, inputs.train, file, settings)

    def encode(table: Table) -> TreeRows:
        return TreeRows(make_matrix(opened.ensemble, study.train, table), _encode(study, table))

    return LoadedModel(TreeObjective(opened.training, opened.difference), encode)


def _encode(study: Study, table: Table) -> torch.Tensor:
    """Return targets as measures of queries expect them."""
    if study.target == CLASS:
        return make_targets(study, table)
    return weight_rows(study, make_tree_targets(table, "queries")[:, None], table.weights)
