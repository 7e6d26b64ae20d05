"""Predictions of the library that trained an ensemble, to compare the reading of its file with."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fastif import InputError
from fastif.trees.ensemble import TreeEnsemble

TOLERANCE = 1e-4
"""Largest difference from the library, relative to 1 + the largest score; XGBoost adds in single
precision."""


def compare_predictions(
    ensemble: TreeEnsemble, path: Path, rows: Float[Tensor, "n f"]
) -> float | None:
    """Return the largest difference from the library's own scores; None if it cannot be asked.

    Args:
        ensemble: Ensemble as read.
        path: File of the model.
        rows: Features as numbers.

    Raises:
        InputError: The reading predicts something else than the library.
    """
    scores = _predict(ensemble, path, rows.numpy())
    if scores is None:
        return None
    own = ensemble.predict(rows).numpy()
    difference = float(np.abs(own - scores.reshape(own.shape)).max(initial=0.0))
    if difference > TOLERANCE * (1 + np.abs(own).max(initial=0.0)):
        raise InputError(
            "model",
            f"the scores of {ensemble.library}",
            f"other ones, by up to {difference:.2g}",
            "Please report the model: its file was not read correctly.",
        )
    return difference


def _predict(ensemble: TreeEnsemble, path: Path, rows: np.ndarray) -> np.ndarray | None:
    """Return raw scores of the library; None if it is absent or needs texts of categories."""
    if find_spec(ensemble.library) is None:
        return None
    if ensemble.library == "lightgbm":
        import lightgbm

        return np.asarray(lightgbm.Booster(model_file=str(path)).predict(rows, raw_score=True))
    if ensemble.library == "xgboost":
        return _predict_xgboost(path, rows, len(ensemble.rounds))
    if ensemble.categories:
        return None
    import catboost  # pyright: ignore[reportMissingImports]

    model = catboost.CatBoost().load_model(str(path), format="json")
    return np.asarray(model.predict(rows, prediction_type="RawFormulaVal"))


def _predict_xgboost(path: Path, rows: np.ndarray, rounds: int) -> np.ndarray:
    import xgboost

    booster = xgboost.Booster(model_file=str(path))
    types = booster.feature_types
    data = xgboost.DMatrix(
        rows,
        feature_names=booster.feature_names,
        feature_types=types,
        enable_categorical="c" in (types or ()),
    )
    return booster.predict(data, output_margin=True, iteration_range=(0, rounds))
