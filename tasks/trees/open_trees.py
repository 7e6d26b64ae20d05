"""Boosted trees of a study, checked against its labels, rows and the library that trained them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from fastif import InputError
from fastif.trees.boosting_loss import HalfSquaredError
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.read_ensemble import read_ensemble
from fastif.trees.trace_training import FitSettings, trace_training
from fastif.trees.training import TreeTraining
from tasks.data.table import Table
from tasks.study.errors import Problem, StudyError, format_value, join_some
from tasks.study.study import Study
from tasks.study.target_kind import CLASS, NUMBER
from tasks.study.tree_study import TreeSettings
from tasks.trees.feature_matrix import make_matrix
from tasks.trees.library_predictions import compare_predictions

COMMAND = "fastif trees"


@dataclass(frozen=True, eq=False)
class OpenedTrees:
    """Boosted trees with their training repeated on a study's rows.

    Attributes:
        ensemble: Ensemble as read.
        training: Training of the ensemble, repeated on the rows.
        rows: Features of the training rows as numbers.
        difference: Largest difference from the library's predictions; None if not compared.
    """

    ensemble: TreeEnsemble
    training: TreeTraining
    rows: Float[Tensor, "n f"]
    difference: float | None


def open_trees(study: Study, train: Table, model: Path, settings: FitSettings) -> OpenedTrees:
    """Read an ensemble, compare it with the study and its library, and repeat its training.

    Args:
        study: Study file.
        train: Training rows.
        model: File of LightGBM, XGBoost or CatBoost.
        settings: Settings of training that are not in the file.

    Raises:
        StudyError: Its labels or target are not those of the model.
        InputError: The model is not supported, or does not follow from the training rows.
    """
    ensemble = read_ensemble(model)
    _check_labels(study, ensemble)
    rows = make_matrix(ensemble, study.train, train)
    difference = compare_predictions(ensemble, model, rows)
    weights = None
    if train.weights is not None:
        weights = torch.tensor(train.weights, dtype=torch.double)
    targets = make_tree_targets(train, "train")
    training = trace_training(ensemble, rows, targets, weights, settings)
    return OpenedTrees(ensemble, training, rows, difference)


def combine_settings(settings: FitSettings, stated: TreeSettings) -> FitSettings:
    """Return settings of training, with those of the study where one is not given."""
    fields = ("learning_rate", "l2", "l1", "subsample")
    given = {name: getattr(settings, name) for name in fields}
    return FitSettings(
        **{name: getattr(stated, name) if given[name] is None else given[name] for name in fields}
    )


def _check_labels(study: Study, ensemble: TreeEnsemble) -> None:
    """Refuse labels that are not those of the model, in its order where the file has their names.

    Raises:
        StudyError: Their number, order or kind differs.
    """
    is_number = isinstance(ensemble.loss, HalfSquaredError)
    if is_number != (study.target == NUMBER):
        expected = format_value(NUMBER if is_number else CLASS) + " as the model was trained"
        problem = Problem("target", expected, format_value(study.target), "correct the key")
        raise StudyError(study.path, [problem])
    if is_number:
        return
    count = max(2, ensemble.loss.outputs)
    names = ensemble.class_names
    if names == tuple(map(str, range(count))):
        names = ()  # positions, which say nothing of the order of names
    if len(study.labels) != count or (names and tuple(study.labels) != names):
        expected = join_some(list(names)) if names else f"{count} labels, in the model's order"
        got, change = format_value(list(study.labels)), "correct the names or their order"
        raise StudyError(study.path, [Problem("labels", expected, got, change)])


def make_tree_targets(table: Table, role: str) -> torch.Tensor:
    """Return class numbers or numbers of a table, [n].

    Raises:
        InputError: A row has none.
    """
    targets = list(table.targets)
    if any(target is None for target in targets):
        remedy = f"Fill in the labels of {COMMAND}'s queries, or leave these rows out."
        raise InputError(f"[{role}] label", "a target for each row", "rows without", remedy)
    flat = [target[0] if isinstance(target, tuple) else target for target in targets]
    dtype = torch.long if table.kind == CLASS else torch.double
    return torch.tensor(flat, dtype=dtype)
