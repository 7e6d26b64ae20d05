"""Effects of a study's training rows on its queries under boosted trees, written as Parquet."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from fastif import InputError
from fastif.trees.boosting_loss import HalfSquaredError
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.trace_training import FitSettings
from fastif.trees.tree_attributor import TreeAttributor
from tasks.data.inputs import Inputs, read_study, read_tables
from tasks.data.table import Table
from tasks.study.errors import Problem, StudyError
from tasks.study.study import Study
from tasks.study.supported_targets import check_target
from tasks.study.target_kind import CLASS, NUMBER
from tasks.trees.feature_matrix import make_matrix
from tasks.trees.open_trees import COMMAND, combine_settings, make_tree_targets, open_trees
from tasks.trees.row_table import make_row_table


@dataclass(frozen=True, eq=False)
class TreeEffects:
    """Effects of training rows on queries, with what was checked.

    Attributes:
        effects: Query, training row and removal effect; the `keep` lowest and highest of a query.
        queries: Query, its target, what is predicted, and its loss.
        rows: Values of training rows over all queries; None unless they were wanted.
        notes: Sentences on the training, for its user.
        deviation: Largest relative difference of a repeated leaf value; NaN if not compared.
        difference: Largest difference from the library's predictions; None if not compared.
    """

    effects: pl.DataFrame
    queries: pl.DataFrame
    rows: pl.DataFrame | None
    notes: tuple[str, ...]
    deviation: float
    difference: float | None


def compute_tree_effects(
    study_path: Path,
    model: Path | None = None,
    method: str | None = None,
    settings: FitSettings | None = None,
    keep: int = 20,
    with_rows: bool = False,
) -> TreeEffects:
    """Read the tables and the ensemble, repeat its training, and attribute all queries.

    Args:
        study_path: Study file with features; its section `[model]` is not needed.
        model: File of LightGBM, XGBoost or CatBoost; that of the study if None.
        method: Method of `TreeAttributor`; that of the study if None.
        settings: Settings of training that are not in the file, before those of the study.
        keep: Number of rows kept at each end.
        with_rows: Whether values of training rows over all queries are computed.

    Raises:
        StudyError: The study has no features or queries, or another kind of target.
        InputError: The model is not supported, or does not follow from the training rows.
    """
    study = read_study(study_path)
    _check_study(study)
    inputs = read_tables(study)
    file = _find_model(study) if model is None else model
    settings = combine_settings(settings or FitSettings(), study.trees)
    opened = open_trees(study, inputs.train, file, settings)
    ensemble, training = opened.ensemble, opened.training
    queries = make_matrix(ensemble, study.train, inputs.queries)
    attribute = TreeAttributor(training, method or study.trees.method)
    targets = make_tree_targets(inputs.queries, "queries")
    influences = attribute(queries, targets, keep)
    frame = _make_effects(inputs, influences.ids.numpy(), influences.removal_effect.numpy())
    return TreeEffects(
        frame,
        _make_queries(inputs.queries, ensemble, queries, targets),
        make_row_table(attribute, queries, targets, inputs.train.ids) if with_rows else None,
        training.notes,
        training.deviation,
        opened.difference,
    )


def _find_model(study: Study) -> Path:
    """Return the file of the study's model.

    Raises:
        StudyError: The study has no trees as model.
    """
    if study.has_trees:
        return study.resolve(study.model.path)
    change = "give the file by --model, or set [model] path to it"
    problem = Problem("[model] path", f"a file of boosted trees for {COMMAND}", "none", change)
    raise StudyError(study.path, [problem])


def _check_study(study: Study) -> None:
    """Refuse a study without features or queries, or of another kind of target.

    Raises:
        StudyError: With what is missing.
    """
    check_target(study, (CLASS, NUMBER), COMMAND)
    problems = []
    if not study.train.features:
        change = "name the columns of the table: features = [...]"
        problems.append(Problem("[train] features", f"columns for {COMMAND}", "none", change))
    if not study.has_queries:
        change = "add the table of the predictions to explain"
        problems.append(Problem("[queries]", f"a section for {COMMAND}", "none", change))
    if study.target == NUMBER and len(study.labels) > 1:
        change = "name one column as label"
        problems.append(Problem("[train] labels", "one number a row", "several", change))
    if problems:
        raise StudyError(study.path, problems)


def _make_effects(inputs: Inputs, ids: np.ndarray, effects: np.ndarray) -> pl.DataFrame:
    """Return the kept effects as a table, the most harmful rows of each query first."""
    count = ids.shape[1]
    train = np.array(inputs.train.ids, dtype=object)
    return pl.DataFrame(
        {
            "query": [name for name in inputs.queries.ids for _ in range(count)],
            "train": train[ids.ravel()].tolist(),
            "removal_effect": effects.ravel(),
        },
        schema={"query": pl.String, "train": pl.String, "removal_effect": pl.Float64},
    )


def _make_queries(
    table: Table, ensemble: TreeEnsemble, rows: torch.Tensor, targets: torch.Tensor
) -> pl.DataFrame:
    """Return the queries with target, predicted number or class, and loss."""
    outputs = ensemble.loss.to_logits(ensemble.predict(rows))
    loss = ensemble.loss.measure(outputs, targets)
    if isinstance(ensemble.loss, HalfSquaredError):
        predicted = outputs[:, 0]
    else:
        predicted = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
    columns = {"query": list(table.ids), "target": targets.tolist()}
    return pl.DataFrame({**columns, "predicted": predicted.tolist(), "loss": loss.tolist()})


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a table to a Parquet file that is not there yet.

    Raises:
        InputError: The file is there, or cannot be written.
    """
    check_new_file(path)
    try:
        frame.write_parquet(path)
    except OSError as error:
        raise InputError("--out", "a path to write to", f"{error}", "Choose another.") from error


def check_new_file(path: Path) -> None:
    """Refuse a path of a file that is there, or without the suffix of Parquet, before the work.

    Raises:
        InputError: The path cannot be written to.
    """
    if path.suffix != ".parquet":
        raise InputError("--out", "a .parquet file", f"{path.name}", "Change the suffix.")
    if path.exists():
        raise InputError("--out", "a new file", f"{path}, which is there", "Choose another name.")
