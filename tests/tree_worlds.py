"""Studies of boosted trees: tables with missing values and categories, and trained models."""

import numpy as np
import polars as pl
import pytest
from tiny import write_study

JOBS = ["clerk", "cook", "nurse", "smith", "baker", "judge"]


def make_labels(score, target):
    if target == "classes":
        return np.array(["low", "mid", "high"])[np.digitize(score, [0, 1])]
    return score if target == "number" else np.where(score > 0.5, "yes", "no")


def write_table(path, count, seed, target):
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(count, 2))
    jobs = random.integers(0, len(JOBS), count)
    score = numbers[:, 0] + (jobs % 2) + 0.5 * random.normal(size=count)
    numbers[::9, 0] = np.nan
    frame = pl.DataFrame(
        {
            "id": [f"{path.stem}-{i}" for i in range(count)],
            "age": pl.Series(numbers[:, 0]).fill_nan(None),
            "income": numbers[:, 1],
            "job": [JOBS[i] for i in jobs],
            "label": make_labels(score, target),
        }
    )
    frame.write_parquet(path)
    return frame


def make_world(folder, target="class", library="lightgbm", **settings):
    """Write tables, a study without [model], and a model trained on them."""
    train = write_table(folder / "train.parquet", 150, 0, target)
    write_table(folder / "queries.parquet", 8, 1, target)
    model = train_model(train, target, library, folder, **settings)
    return write_tree_study(folder, target, model=None), model


def make_audit_world(folder, target="class", library="lightgbm", **settings):
    """Write tables with weights and groups, a model trained on them, and a study with [model].

    With the target "classes" there are three labels.
    """
    for name, count, seed in (("train", 120, 0), ("queries", 8, 1)):
        frame = write_table(folder / f"{name}.parquet", count, seed, target)
        random = np.random.default_rng(seed)
        frame = frame.with_columns(
            weight=pl.Series(random.uniform(0.5, 2, count)),
            kind=pl.Series([("long", "short")[i % 2] for i in range(count)]),
        )
        frame.write_parquet(folder / f"{name}.parquet")
    train = pl.read_parquet(folder / "train.parquet")
    model = train_model(train, target, library, folder, weights=train["weight"], **settings)
    return write_tree_study(
        folder,
        target,
        model={"path": model.name, "max_length": None},
        train={"weight": "weight"},
        queries={"groups": ["kind"]},
    )


def write_tree_study(folder, target="class", name="study.toml", **sections):
    """Write a study of the tables, without the sections that trees do not have."""
    features = {"features": ["age", "income", "job"], "label": "label", "id": "id", "text": None}
    tables = {
        role: {"table": f"{role}.parquet", **features, "groups": None, **sections.pop(role, {})}
        for role in ("train", "queries")
    }
    labels = {"number": None, "classes": ["low", "mid", "high"]}.get(target, ["no", "yes"])
    top = {"labels": labels, "target": "number" if target == "number" else "class"}
    absent = dict.fromkeys(("parameters", "candidates", "curvature", "loss", "solver"))
    run = {"shard_size": 3, "batch_size": None, **sections.pop("run", {})}
    return write_study(folder, name, top=top, **{**absent, "run": run, **tables, **sections})


def train_model(train, target, library, folder, weights=None, **settings):
    """Train on a table, and save the model into the folder."""
    frame = train.select("age", "income", "job").to_pandas()
    labels = train["label"].to_numpy()
    if target != "number":
        names = ["low", "mid", "high"] if target == "classes" else ["no", "yes"]
        labels = np.array([names.index(label) for label in labels])
    weights = None if weights is None else weights.to_numpy()
    return _train(library, frame, labels, target, folder, settings, weights)


def _train(library, frame, labels, target, folder, settings, weights):
    pytest.importorskip(library, reason="catboost is no part of the extra test: 97 MB")
    import pandas as pd

    if library == "catboost":
        import catboost

        loss = "RMSE" if target == "number" else "Logloss"
        base = {"iterations": 10, "depth": 3, "one_hot_max_size": 20, "verbose": 0}
        base |= {"allow_writing_files": False, "thread_count": 1, "boosting_type": "Plain"}
        model = catboost.CatBoost({**base, "loss_function": loss, **settings})
        pool = catboost.Pool(frame, labels, cat_features=["job"], weight=weights)
        model.fit(pool)
        model.save_model(str(folder / "model.json"), format="json", pool=pool)
        return folder / "model.json"
    frame = frame.assign(job=pd.Categorical(frame["job"]))
    if library == "xgboost":
        import xgboost

        objective = "reg:squarederror" if target == "number" else "binary:logistic"
        data = xgboost.DMatrix(frame, labels, weight=weights, enable_categorical=True)
        xgboost.train({"objective": objective, "nthread": 1, **settings}, data, 10).save_model(
            folder / "model.json"
        )
        return folder / "model.json"
    import lightgbm

    objective = {"number": "regression", "classes": "multiclass"}.get(target, "binary")
    classes = {"num_class": 3} if target == "classes" else {}
    base = {
        "objective": objective,
        **classes,
        "verbose": -1,
        "num_threads": 1,
        "min_data_per_group": 5,
    }
    data = lightgbm.Dataset(frame, labels, weight=weights)
    lightgbm.train({**base, **settings}, data, 10).save_model(folder / "model.txt")
    return folder / "model.txt"
