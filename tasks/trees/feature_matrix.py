"""Features of a table as the numbers that the trees of an ensemble test."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fastif import InputError
from fastif.trees.ensemble import TreeEnsemble
from tasks.data.row_values import read_rows
from tasks.data.table import Table
from tasks.study.sections import TableSource

UNSEEN = 2.0**31 - 1
"""Number of a category that the training of the ensemble never had."""


def make_matrix(ensemble: TreeEnsemble, source: TableSource, table: Table) -> Float[Tensor, "n f"]:
    """Return the features of a table in the order of the ensemble's columns.

    Columns are matched by name if the ensemble has names of its own, else by position.

    Args:
        ensemble: Ensemble as read.
        source: Section `[train]`, whose names of columns both tables are read by.
        table: Rows with features.

    Raises:
        InputError: The study lacks a column, or has categories where the trees test numbers.
    """
    names = _order_columns(ensemble, source.features)
    rows = read_rows(source, table)
    columns = dict(zip(rows.names, rows.columns, strict=True))
    matrix = np.empty((len(table), len(names)))
    for place, name in enumerate(names):
        numbers = ensemble.categories.get(place)
        values = columns[name]
        matrix[:, place] = _read_column(values, name, numbers, ensemble.library)
    return torch.from_numpy(matrix)


def _order_columns(ensemble: TreeEnsemble, features: Sequence[str]) -> list[str]:
    """Return the study's columns in the order of the ensemble's.

    Raises:
        InputError: A column is missing, or their number differs where names do not tell.
    """
    names = list(ensemble.features)
    if names and all(name in features for name in names):
        return names
    has_own_names = any(not _is_position(name) for name in names)
    tested = max(
        (int(tree.feature.max()) for tree in ensemble.trees if len(tree.feature)), default=-1
    )
    count = max(len(names), tested + 1) if names else None
    missing = [name for name in names if name not in features]
    if has_own_names:
        raise InputError(
            "[train] features",
            "the columns of the model: " + ", ".join(names),
            "no " + ", ".join(missing[:5]),
            "Name the columns that the model was trained on.",
        )
    if len(features) <= tested or (count is not None and count != len(features)):
        raise InputError(
            "[train] features",
            f"the {count or tested + 1} columns of the model, in its order",
            f"{len(features)}",
            "Name the columns in the order in which the model was trained.",
        )
    return list(features)


def _is_position(name: str) -> bool:
    """Whether a library made up the name of a column from its position."""
    stem = name.removeprefix("Column_").removeprefix("f")
    return not stem or stem.isdecimal()


def _read_column(
    values: Sequence[object], name: str, numbers: Mapping[str, int] | None, library: str
) -> np.ndarray:
    """Return a column as numbers, categories by the ensemble's numbers.

    Raises:
        InputError: Lists; or a category, but the model has no numbers of categories for the column.
    """
    if isinstance(values, np.ndarray) or (len(values) and isinstance(values[0], np.ndarray)):
        remedy = "Give each number of the list a column of its own."
        raise InputError(f"column {name}", "a number or a category a row", "lists", remedy)
    is_text = any(isinstance(value, str) for value in values)
    if numbers is None:
        if is_text:
            raise InputError(
                f"column {name}",
                "numbers, as the model has no names of its categories",
                "categories",
                "Give the numbers that the model was trained on.",
            )
        return np.array([np.nan if value is None else value for value in values], dtype=float)
    return np.array([_encode(value, numbers, library) for value in values], dtype=float)


def _encode(value: object, numbers: Mapping[str, int], library: str) -> float:
    """Return the number of a category; CatBoost takes a missing one for a category of its own."""
    is_missing = value is None or (isinstance(value, float) and np.isnan(value))
    if is_missing:
        if library != "catboost":
            return np.nan
        return next((float(numbers[n]) for n in ("nan", "None", "") if n in numbers), UNSEEN)
    text = str(value)
    if isinstance(value, float) and text not in numbers and value.is_integer():
        text = str(int(value))
    return float(numbers.get(text, UNSEEN))
