"""A study of a pipeline of scikit-learn, through the whole audit."""

import numpy as np
import own_package
import polars as pl
import pytest
import tiny
import torch
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skops import io

from fastif import InputError
from fastif.pipelines.fitted_pipeline import read_pipeline

FEATURES = ["age", "income", "job"]


def make_study(folder, estimator, target="class", **loss):
    """Fit a pipeline to a table, and write model, tables and study."""
    own_package.write_rows(folder / "train.parquet", 60, 0)
    own_package.write_rows(folder / "queries.parquet", 6, 1)
    train = pl.read_parquet(folder / "train.parquet").to_pandas()
    labels = train["label"] if target == "class" else train["income"]
    features = FEATURES if target == "class" else ["age", "job"]
    numbers = [name for name in features if name != "job"]
    prepare = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(), ["job"]))
    pipeline = make_pipeline(prepare, estimator).fit(train[features], labels)
    (folder / "weights").mkdir()
    io.dump(pipeline, folder / "weights" / "model.skops")
    label = "label" if target == "class" else "income"
    section = {"features": features, "label": label, "id": "id", "text": None}
    classes = ["granted", "refused"] if target == "class" else None
    return tiny.write_study(
        folder,
        top={"labels": classes, "target": target},
        model={"path": "weights", "factory": "fastif.pipelines:load", "max_length": None},
        train={"table": "train.parquet", **section},
        queries={"table": "queries.parquet", **section, "groups": None},
        parameters={"attributed": None},
        candidates={"kind": "full", "keep": 60},
        curvature={"damping": 0.0},
        solver={"kind": "direct"},
        loss={"weight_decay_kind": "coupled", **loss},
    )


def compute_effects(study):
    store, run = tiny.run_directly(study)
    scores = store.scan("scores", run).collect()
    effects = torch.full((6, 60), torch.nan, dtype=torch.double)
    for query, train, effect in scores.select("query", "train", "removal_effect").rows():
        effects[query, train] = effect
    return effects


def test_effects_of_an_audit_are_those_of_fitting_again(tmp_path):
    estimator = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000)
    study = make_study(tmp_path, estimator, weight_decay=1 / (0.5 * 60))
    effects = compute_effects(study)
    pipeline = read_pipeline(tmp_path / "weights" / "model.skops")
    tables = [pl.read_parquet(tmp_path / f"{n}.parquet").to_pandas() for n in ("train", "queries")]
    features = [pipeline.transform(table[FEATURES]).numpy() for table in tables]
    labels, wanted = (table["label"].to_numpy() for table in tables)

    def measure(rows):
        model = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000)
        model.fit(features[0][rows], labels[rows])
        place = np.searchsorted(model.classes_, wanted)
        return -model.predict_log_proba(features[1])[np.arange(6), place]

    truth = [measure(np.arange(60) != row) - measure(np.arange(60)) for row in range(0, 60, 5)]
    truth, own = torch.tensor(np.stack(truth, 1)), effects[:, ::5].double()
    assert torch.corrcoef(torch.stack([own.flatten(), truth.flatten()]))[0, 1] > 0.99
    assert float((own * truth).sum() / own.square().sum()) == pytest.approx(1, abs=0.1)


def test_a_regression_is_audited(tmp_path):
    study = make_study(tmp_path, Ridge(alpha=3.0), "number", weight_decay=2 * 3.0 / 60)
    assert compute_effects(study).abs().max() > 0


WRONG = [
    (LogisticRegression(C=0.5), {"weight_decay": 0.5}, "0.0333333"),
    (LogisticRegression(C=0.5), {"weight_decay": 2.0}, "0.0333333"),
    (LogisticRegression(C=1 / 6, class_weight="balanced"), {"weight_decay": 0.1}, "balanced"),
]


@pytest.mark.parametrize(("estimator", "loss", "message"), WRONG)
def test_another_penalty_or_loss_than_that_of_the_fit_is_refused(
    estimator, loss, message, tmp_path
):
    study = make_study(tmp_path, estimator, **loss)
    with pytest.raises(InputError, match=message):
        tiny.run_directly(study)


def test_labels_in_another_order_are_refused(tmp_path):
    study = make_study(tmp_path, LogisticRegression(), weight_decay=1 / 60)
    study.write_text(study.read_text().replace('"granted", "refused"', '"refused", "granted"'))
    with pytest.raises(InputError, match="in their order"):
        tiny.run_directly(study)
