"""`fastif trees`: effects of a study's rows under real models, and refusals by name."""

import numpy as np
import polars as pl
import pytest
import torch
from tree_worlds import make_world
from typer.testing import CliRunner

from fastif.mislabels.knn_shapley import compute_knn_shapley
from fastif.trees.read_ensemble import read_ensemble
from fastif.trees.trace_training import trace_training
from fastif.trees.tree_attributor import TreeAttributor
from flows.cli.app import app


def run(*arguments):
    return CliRunner().invoke(app, ["trees", *map(str, arguments)])


@pytest.mark.parametrize("target", ["class", "number"])
@pytest.mark.parametrize("library", ["lightgbm", "xgboost", "catboost"])
def test_effects_of_the_command_are_those_of_the_library(library, target, tmp_path):
    study, model = make_world(tmp_path, target, library)
    out = tmp_path / "effects.parquet"
    values = tmp_path / "rows.parquet"
    answer = run("--model", model, "--out", out, "--rows", values, "--keep", 75, study)
    assert answer.exit_code == 0, answer.output
    assert "repeated from the training rows" in answer.output
    ensemble = read_ensemble(model)
    numbers = dict(ensemble.categories[2])
    matrices, targets = [], []
    for name in ("train", "queries"):
        frame = pl.read_parquet(tmp_path / f"{name}.parquet")
        jobs = [float(numbers.get(job, 99)) for job in frame["job"]]
        columns = [frame["age"].fill_null(np.nan), frame["income"], pl.Series(jobs)]
        matrices.append(torch.tensor(np.stack([c.to_numpy() for c in columns], 1)))
        label = frame["label"]
        label = label if target == "number" else (label == "yes").cast(pl.Int64)
        targets.append(torch.tensor(label.to_numpy()))
    training = trace_training(ensemble, matrices[0], targets[0])
    truth = TreeAttributor(training).compute_effects(matrices[1], targets[1])
    effects = pl.read_parquet(out)
    assert len(effects) == 8 * 150
    for query in (0, 5):
        own = effects.filter(pl.col("query") == f"queries-{query}")
        given = dict(zip(own["train"], own["removal_effect"], strict=True))
        assert np.allclose([given[f"train-{i}"] for i in range(150)], truth[query].numpy())
    rows = pl.read_parquet(values)
    assert np.allclose(rows["mean_removal_effect"].to_numpy(), truth.mean(0).numpy())
    assert ("knn_shapley" in rows.columns) == (target == "class")
    if target == "class":
        leaves = training.ensemble.assign(matrices[1])
        shared = (leaves[:, :, None] == training.leaves[:, None]).double().mean(0)
        shapley = compute_knn_shapley(shared, targets[0], targets[1], 5)
        assert np.allclose(rows["knn_shapley"].to_numpy(), shapley.numpy())
    again = run("--model", model, "--out", out, study)
    assert again.exit_code != 0
    assert "which is there" in again.output


def change(study, old, new):
    study.write_text(study.read_text().replace(old, new))


def test_refusals_name_what_is_wrong(tmp_path):
    study, model = make_world(tmp_path)

    def refuse(*words, arguments=("--model", model)):
        answer = run(*arguments, study)
        output = " ".join(answer.output.split())
        assert answer.exit_code != 0
        assert "Traceback" not in output
        for word in words:
            assert word in output, output

    text = study.read_text()
    refuse("No such file", arguments=("--model", tmp_path / "absent.txt"))
    refuse("leaf-influence", arguments=("--model", model, "--method", "shap"))
    refuse(".parquet", arguments=("--model", model, "--out", "effects.csv"))
    change(study, '"age", "income", "job"', '"age", "income"')
    refuse("no job")
    study.write_text(text)
    change(study, 'labels = ["no", "yes"]', 'labels = ["no", "yes", "maybe"]')
    refuse("labels", "2 labels")
    study.write_text(text)
    change(study, 'labels = ["no", "yes"]', 'labels = ["yes", "no"]')
    refuse("leaf values that differ")
    study.write_text(text)
    frame = pl.read_parquet(tmp_path / "train.parquet")
    frame.head(140).write_parquet(tmp_path / "train.parquet")
    refuse("leaf values that differ")


def test_a_classifier_is_refused_for_numbers_and_the_reverse(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    study, _ = make_world(tmp_path / "a", "number")
    _, model = make_world(tmp_path / "b", "class")
    answer = run("--model", model, study)
    assert answer.exit_code != 0
    assert "as the model was trained" in " ".join(answer.output.split())
