"""Small models trained by the real libraries, with tables of missing values and categories."""

import numpy as np
import pytest
import torch

from fastif.trees.read_ensemble import read_ensemble

KINDS = ("binary", "classes", "number")
LIBRARIES = ("lightgbm", "xgboost", "catboost")
CATEGORY = 3


def make_table(kind, count=240, seed=0):
    """Rows with NaN, a column of categories 0 to 9, and targets of a kind."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, 4))
    rows[:, CATEGORY] = random.integers(0, 10, count)
    score = rows[:, 0] + 1.5 * np.isin(rows[:, CATEGORY], [1, 4, 6])
    score = score + 0.5 * random.normal(size=count)
    rows[:, :CATEGORY][random.random((count, CATEGORY)) < 0.1] = np.nan
    targets = {
        "binary": (score > 0.5).astype(int),
        "classes": np.digitize(score, [0, 1]),
        "number": score,
    }
    return rows, targets[kind]


def train(library, kind, rows, targets, path, weights=None, rounds=8, **settings):
    """Train with a library; return the ensemble as read, and its own raw predictions."""
    pytest.importorskip(library, reason="catboost is no part of the extra test: 97 MB")
    function = {"lightgbm": _train_lightgbm, "xgboost": _train_xgboost, "catboost": _train_catboost}
    return function[library](kind, rows, targets, path, weights, rounds, settings)


def _train_lightgbm(kind, rows, targets, path, weights, rounds, settings):
    import lightgbm

    objective = {"binary": "binary", "classes": "multiclass", "number": "regression"}[kind]
    classes = {"num_class": 3} if kind == "classes" else {}
    base = {"objective": objective, "verbose": -1, "num_threads": 1, "num_leaves": 6, **classes}
    data = lightgbm.Dataset(rows, targets, weight=weights, categorical_feature=[CATEGORY])
    booster = lightgbm.train({"min_data_per_group": 5, **base, **settings}, data, rounds)
    booster.save_model(path / "model.txt")

    def predict(rows):
        return booster.predict(rows, raw_score=True).reshape(len(rows), -1)

    return read_ensemble(path / "model.txt"), predict


def _train_xgboost(kind, rows, targets, path, weights, rounds, settings):
    import xgboost

    objectives = {"binary": "binary:logistic", "classes": "multi:softprob"}
    base = {"objective": objectives.get(kind, "reg:squarederror"), "nthread": 1, "max_depth": 3}
    base |= {"num_class": 3} if kind == "classes" else {}
    name = settings.pop("format", "model.json")
    types = ["q", "q", "q", "c"]

    def convert(rows, *rest, **weights):
        form = {"feature_types": types, "enable_categorical": True}
        return xgboost.DMatrix(rows, *rest, **form, **weights)

    data = convert(rows, targets, weight=weights)
    booster = xgboost.train({**base, "max_cat_to_onehot": 1, **settings}, data, rounds)
    booster.save_model(path / name)

    def predict(rows):
        return booster.predict(convert(rows), output_margin=True).reshape(len(rows), -1)

    return read_ensemble(path / name), predict


def as_catboost(rows):
    import pandas as pd

    frame = pd.DataFrame(rows)
    frame[CATEGORY] = [f"c{int(value)}" for value in rows[:, CATEGORY]]
    return frame


def _train_catboost(kind, rows, targets, path, weights, rounds, settings):
    import catboost

    name = {"binary": "Logloss", "classes": "MultiClass", "number": "RMSE"}[kind]
    base = {"loss_function": name, "iterations": rounds, "depth": 3, "verbose": 0}
    base |= {"thread_count": 1, "allow_writing_files": False, "one_hot_max_size": 20}
    model = catboost.CatBoost({**base, "boosting_type": "Plain", **settings})
    pool = catboost.Pool(as_catboost(rows), targets, cat_features=[CATEGORY], weight=weights)
    model.fit(pool)
    model.save_model(str(path / "model.json"), format="json", pool=pool)

    def predict(rows):
        return np.asarray(model.predict(as_catboost(rows))).reshape(len(rows), -1)

    return read_ensemble(path / "model.json"), predict


def encode(ensemble, rows):
    """Rows with the numbers that an ensemble has for its categories."""
    rows = rows.copy()
    if ensemble.library == "catboost":
        numbers = ensemble.categories[CATEGORY]
        rows[:, CATEGORY] = [numbers.get(f"c{int(v)}", 10**6) for v in rows[:, CATEGORY]]
    return torch.tensor(rows)
