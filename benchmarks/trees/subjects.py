"""Tables and libraries of boosted trees, with models trained on any part of the rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn import datasets

from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.read_ensemble import read_ensemble

ROUNDS = 60
QUERIES = 60


@dataclass(frozen=True, eq=False)
class Subject:
    """Table in a training part and queries.

    Attributes:
        name: Name of the table.
        kind: "binary", "classes" or "number".
        rows, targets: Training part.
        queries, query_targets: Queries.
    """

    name: str
    kind: str
    rows: np.ndarray
    targets: np.ndarray
    queries: np.ndarray
    query_targets: np.ndarray


def _make_synthetic(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a table with interactions, missing values and noise, of which the truth is known."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(1000, 8))
    score = rows[:, 0] * rows[:, 1] + np.abs(rows[:, 2]) + 0.5 * random.normal(size=1000)
    rows[random.random(rows.shape) < 0.05] = np.nan
    return rows, score if kind == "number" else (score > np.median(score)).astype(int)


TABLES: dict[str, tuple[str, Callable[[], tuple]]] = {
    "breast cancer": ("binary", lambda: datasets.load_breast_cancer(return_X_y=True)),
    "diabetes": ("number", lambda: datasets.load_diabetes(return_X_y=True)),
    "synthetic classes": ("binary", lambda: _make_synthetic("binary", 0)),
    "digits": ("classes", lambda: datasets.load_digits(return_X_y=True)),
    "wine": ("classes", lambda: datasets.load_wine(return_X_y=True)),
    "synthetic numbers": ("number", lambda: _make_synthetic("number", 1)),
    "friedman": ("number", lambda: datasets.make_friedman1(800, noise=1.0, random_state=0)),
}


def load_subject(name: str) -> Subject:
    """Return a table, shuffled; at most 800 rows are trained on."""
    kind, load = TABLES[name]
    rows, targets = load()
    order = np.random.default_rng(0).permutation(len(rows))[: 800 + QUERIES]
    rows, targets = rows[order].astype(float), targets[order]
    if kind == "number":
        targets = (targets - targets.mean()) / targets.std()
    split = min(QUERIES, len(rows) // 3)
    return Subject(name, kind, rows[split:], targets[split:], rows[:split], targets[:split])


def train_lightgbm(kind: str, rows: np.ndarray, targets: np.ndarray, path: Path) -> TreeEnsemble:
    import lightgbm

    objective = {"binary": "binary", "classes": "multiclass", "number": "regression"}[kind]
    settings = {"objective": objective, "verbose": -1, "num_threads": 1, "num_leaves": 8}
    if kind == "classes":
        settings["num_class"] = int(targets.max()) + 1
    data = lightgbm.Dataset(rows, targets, params={"verbose": -1})
    lightgbm.train(settings, data, ROUNDS).save_model(path / "model.txt")
    return read_ensemble(path / "model.txt")


def train_xgboost(kind: str, rows: np.ndarray, targets: np.ndarray, path: Path) -> TreeEnsemble:
    import xgboost

    objectives = {"binary": "binary:logistic", "classes": "multi:softprob"}
    settings = {"objective": objectives.get(kind, "reg:squarederror"), "max_depth": 3, "eta": 0.1}
    if kind == "classes":
        settings["num_class"] = int(targets.max()) + 1
    booster = xgboost.train({**settings, "nthread": 1}, xgboost.DMatrix(rows, targets), ROUNDS)
    booster.save_model(path / "model.json")
    return read_ensemble(path / "model.json")


def make_catboost(kind: str):
    import catboost

    settings = {"iterations": ROUNDS, "depth": 3, "learning_rate": 0.1, "verbose": 0}
    settings |= {"thread_count": 1, "allow_writing_files": False, "boosting_type": "Plain"}
    settings |= {"leaf_estimation_iterations": 1}
    names = {"binary": "Logloss", "classes": "MultiClass", "number": "RMSE"}
    return catboost.CatBoost({**settings, "loss_function": names[kind]})


def train_catboost(kind: str, rows: np.ndarray, targets: np.ndarray, path: Path) -> TreeEnsemble:
    model = make_catboost(kind)
    model.fit(rows, targets)
    model.save_model(str(path / "model.json"), format="json")
    return read_ensemble(path / "model.json")


LIBRARIES = {"LightGBM": train_lightgbm, "XGBoost": train_xgboost, "CatBoost": train_catboost}
