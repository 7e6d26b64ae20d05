"""Reading of trees of real libraries: predictions are those of the library itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from trained_trees import CATEGORY, KINDS, LIBRARIES, encode, make_table, train

from fastif import InputError
from fastif.trees.read_ensemble import read_ensemble
from fastif.trees.trace_training import TOLERANCE, FitSettings, trace_training
from fastif.trees.training import refit_leaves


def make_hard_rows(rows, unseen):
    """Rows with values no training row had: NaN in each column, zero, huge, unseen categories."""
    hard = rows.copy()
    hard[::7, :CATEGORY] = 0.0
    hard[1::11, :CATEGORY] = np.nan
    hard[2::13, 0] = 1e30
    hard[3::13, 0] = -1e30
    hard[4::5, CATEGORY] = unseen
    return hard


def make_edges(ensemble, rows):
    """Rows at the thresholds of the trees, and next to them in both precisions."""
    edges = [rows]
    for tree in ensemble.trees[:4]:
        for node in range(len(tree.feature)):
            column, threshold = int(tree.feature[node]), float(tree.threshold[node])
            if column == CATEGORY:
                continue
            near = np.float32(np.clip(threshold, -1e38, 1e38))
            for value in (
                threshold,
                np.nextafter(threshold, np.inf),
                np.nextafter(near, np.float32(np.inf)),
                np.nextafter(near, np.float32(-np.inf)),
            ):
                row = rows[node : node + 1].copy()
                row[0, column] = value
                edges.append(row)
    return np.concatenate(edges)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_predictions_are_those_of_the_library(library, kind, tmp_path):
    rows, targets = make_table(kind)
    ensemble, predict = train(library, kind, rows, targets, tmp_path)
    unseen = {"lightgbm": 99, "xgboost": 9, "catboost": 99}[library]  # XGBoost refuses a new one
    hard = make_edges(ensemble, make_hard_rows(rows, unseen))
    outputs = ensemble.predict(encode(ensemble, hard)).numpy()
    assert np.abs(outputs - predict(hard)).max() < 3e-6
    assert outputs.std() > 0.1


@pytest.mark.parametrize("settings", [{"zero_as_missing": True}, {"use_missing": False}])
def test_missing_values_of_lightgbm(settings, tmp_path):
    rows, targets = make_table("number")
    ensemble, predict = train("lightgbm", "number", rows, targets, tmp_path, **settings)
    hard = make_hard_rows(rows, -3)
    assert np.abs(ensemble.predict(torch.tensor(hard)).numpy() - predict(hard)).max() < 1e-12


@pytest.mark.parametrize("mode", ["Min", "Max"])
def test_missing_values_of_catboost(mode, tmp_path):
    rows, targets = make_table("binary")
    ensemble, predict = train("catboost", "binary", rows, targets, tmp_path, nan_mode=mode)
    hard = make_hard_rows(rows, 99)
    outputs = ensemble.predict(encode(ensemble, hard)).numpy()
    assert np.abs(outputs - predict(hard)).max() < 1e-12


def test_both_formats_of_xgboost_are_read_alike(tmp_path):
    rows, targets = make_table("classes")
    ensemble, _ = train("xgboost", "classes", rows, targets, tmp_path)
    binary, _ = train("xgboost", "classes", rows, targets, tmp_path, format="model.ubj")
    assert torch.equal(ensemble.predict(torch.tensor(rows)), binary.predict(torch.tensor(rows)))


def test_xgboost_predicts_with_the_rounds_up_to_the_best(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    rows, targets = make_table("binary")
    random = np.random.default_rng(1).integers(0, 2, 100)
    data, other = xgboost.DMatrix(rows, targets), xgboost.DMatrix(rows[:100], random)
    booster = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1},
        data,
        30,
        evals=[(other, "other")],
        early_stopping_rounds=3,
        verbose_eval=False,
    )
    booster.save_model(tmp_path / "model.json")
    ensemble = read_ensemble(tmp_path / "model.json")
    best = booster.best_iteration + 1
    outputs = booster.predict(data, output_margin=True, iteration_range=(0, best))
    assert best < booster.num_boosted_rounds()
    assert "best_iteration" in ensemble.notes[0]
    assert np.abs(ensemble.predict(torch.tensor(rows))[:, 0].numpy() - outputs).max() < 3e-6


def test_categories_of_pandas_have_the_library_numbers(tmp_path):
    lightgbm, xgboost, pd = (pytest.importorskip(n) for n in ("lightgbm", "xgboost", "pandas"))
    rows, targets = make_table("binary")
    names = np.array(["red", "green", "blue", "a", "b", "c", "d", "e", "f", "g"])
    frame = pd.DataFrame({"x": rows[:, 0], "c": pd.Categorical(names[rows[:, 3].astype(int)])})
    data = lightgbm.Dataset(frame, targets)
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 5)
    booster.save_model(tmp_path / "model.txt")
    matrix = xgboost.DMatrix(frame, targets, enable_categorical=True)
    other = xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, 5)
    other.save_model(tmp_path / "model.json")
    truths = booster.predict(frame, raw_score=True), other.predict(matrix, output_margin=True)
    for name, truth in zip(("model.txt", "model.json"), truths, strict=True):
        ensemble = read_ensemble(tmp_path / name)
        numbers = [ensemble.categories[1][text] for text in frame["c"]]
        table = torch.tensor(np.stack([rows[:, 0], numbers], 1))
        assert np.abs(ensemble.predict(table)[:, 0].numpy() - truth).max() < 3e-6


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_repeated_leaf_values_are_those_of_the_file(library, kind, weighted, tmp_path):
    rows, targets = make_table(kind)
    weights = np.random.default_rng(2).uniform(0.5, 2, len(rows)) if weighted else None
    ensemble, _ = train(library, kind, rows, targets, tmp_path, weights)
    table = encode(ensemble, rows)
    given = None if weights is None else torch.tensor(weights)
    training = trace_training(ensemble, table, torch.tensor(targets), given)
    assert training.deviation < 1e-5
    again = refit_leaves(training, training.weights[None], ensemble.assign(table))[0]
    difference = again.softmax(1) - ensemble.predict(table).softmax(1)
    assert (difference if kind == "classes" else again - ensemble.predict(table)).abs().max() < 1e-5


SETTINGS = [
    ("lightgbm", {"lambda_l2": 3.0, "lambda_l1": 0.5, "scale_pos_weight": 2.0}),
    ("lightgbm", {"boost_from_average": False, "sigmoid": 2.0, "max_cat_to_onehot": 20}),
    ("xgboost", {"lambda": 5.0, "eta": 0.1, "base_score": 0.3, "scale_pos_weight": 2.0}),
    ("xgboost", {"scale_pos_weight": 3.0}),
    ("catboost", {"l2_leaf_reg": 7.0, "learning_rate": 0.3, "bootstrap_type": "Bayesian"}),
]


@pytest.mark.parametrize(("library", "settings"), SETTINGS)
def test_penalties_and_weights_of_labels_are_found(library, settings, tmp_path):
    rows, targets = make_table("binary")
    ensemble, _ = train(library, "binary", rows, targets, tmp_path, **settings)
    training = trace_training(ensemble, encode(ensemble, rows), torch.tensor(targets))
    assert training.deviation < 1e-5
    from_rows = library == "lightgbm" and "boost_from_average" not in settings
    assert training.starts_from_data == from_rows
    if library == "xgboost":  # with scale_pos_weight its base score is no mean of the rows
        assert any("constant" in note for note in training.notes)


def test_other_rows_labels_or_weights_are_refused(tmp_path):
    rows, targets = make_table("binary")
    ensemble, _ = train("lightgbm", "binary", rows, targets, tmp_path)
    table, labels = torch.tensor(rows), torch.tensor(targets)
    flipped = labels.clone()
    flipped[3] = 1 - flipped[3]
    for broken in [(table[:-1], labels[:-1]), (table, flipped), (table.nan_to_num(), labels)]:
        with pytest.raises(InputError, match="leaf values that differ"):
            trace_training(ensemble, *broken)
    with pytest.raises(InputError, match="a target for each row"):
        trace_training(ensemble, table, labels[:-1])
    with pytest.raises(InputError, match="0 or 1"):
        trace_training(ensemble, table, labels + 1)


def test_an_l1_penalty_of_xgboost_has_to_be_given(tmp_path):
    rows, targets = make_table("number")
    ensemble, _ = train("xgboost", "number", rows, targets, tmp_path, alpha=2.0)
    arguments = ensemble, torch.tensor(rows), torch.tensor(targets)
    with pytest.raises(InputError, match="leaf values that differ"):
        trace_training(*arguments)
    assert trace_training(*arguments, settings=FitSettings(l1=2.0)).deviation < TOLERANCE / 10


def test_samples_of_rows_are_told_and_need_the_settings(tmp_path):
    rows, targets = make_table("number")
    ensemble, _ = train(
        "lightgbm", "number", rows, targets, tmp_path, bagging_freq=1, bagging_fraction=0.7
    )
    training = trace_training(ensemble, torch.tensor(rows), torch.tensor(targets))
    assert "70%" in training.notes[-1]
    with pytest.raises(InputError, match="leaf values that differ"):
        trace_training(ensemble, torch.tensor(rows), torch.tensor(targets[::-1].copy()))
    other, _ = train("xgboost", "number", rows, targets, tmp_path, subsample=0.7)
    with pytest.raises(InputError, match="learning rate and L2 penalty"):
        trace_training(
            other, torch.tensor(rows), torch.tensor(targets), settings=FitSettings(subsample=0.7)
        )


REFUSED = [
    ("lightgbm", {"boosting": "dart"}, "dart"),
    ("lightgbm", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "rf"),
    ("lightgbm", {"linear_tree": True}, "linear_tree"),
    ("lightgbm", {"objective": "poisson"}, "poisson"),
    ("lightgbm", {"path_smooth": 1.0}, "path_smooth"),
    ("lightgbm", {"monotone_constraints": [1, 0, 0, 0]}, "monotone_constraints"),
    ("xgboost", {"booster": "dart"}, "dart"),
    ("xgboost", {"num_parallel_tree": 3}, "num_parallel_tree"),
    ("xgboost", {"objective": "count:poisson"}, "poisson"),
    ("catboost", {"boosting_type": "Ordered"}, "Ordered"),
    ("catboost", {"leaf_estimation_iterations": 3}, "leaf_estimation_iterations"),
    ("catboost", {"loss_function": "MAE"}, "MAE"),
    ("catboost", {"grow_policy": "Lossguide"}, "symmetric"),
    ("catboost", {"one_hot_max_size": 2}, "target statistics"),
]


@pytest.mark.parametrize(("library", "settings", "name"), REFUSED)
def test_other_boosters_and_objectives_are_refused_by_name(library, settings, name, tmp_path):
    rows, targets = make_table("number")
    targets = np.abs(targets)
    if "linear_tree" in settings:
        rows = np.nan_to_num(rows)
    with pytest.raises(InputError, match=name):
        train(library, "number", rows, targets, tmp_path, **settings)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    rows, targets = make_table("binary")
    train("lightgbm", "binary", rows, targets, tmp_path)
    train("xgboost", "binary", rows, targets, tmp_path)
    train("xgboost", "binary", rows, targets, tmp_path, format="model.ubj")
    for name in ("model.txt", "model.json", "model.ubj"):
        content = (tmp_path / name).read_bytes()
        for part in (0, 1, 2, 30, len(content) // 2, len(content) - 40):
            (tmp_path / "cut").write_bytes(content[:part])
            if name == "model.txt" and part > len(content) - 100:
                continue  # only the categories of pandas are lost
            with pytest.raises(InputError):
                read_ensemble(tmp_path / "cut")
    for content in (b"\x80\x04pickle", b"[1]", json.dumps({"learner": 3}).encode(), b"{}"):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(InputError):
            read_ensemble(tmp_path / "other")
    with pytest.raises(InputError, match="No such file"):
        read_ensemble(tmp_path / "absent")


def test_a_kept_file_of_catboost_is_read_without_the_library():
    """Five trees on numbers with NaN and one-hot categories, and CatBoost's own scores."""
    folder = Path(__file__).parent
    ensemble = read_ensemble(folder / "catboost_model.json")
    kept = json.loads((folder / "catboost_scores.json").read_text())
    rows = torch.tensor(
        [[np.nan if value is None else value for value in row] for row in kept["rows"]]
    ).double()
    rows[:, CATEGORY] = torch.tensor(
        [ensemble.categories[CATEGORY].get(name, 10**6) for name in kept["categories"]]
    )
    scores = torch.tensor(kept["scores"]).double()
    assert torch.allclose(ensemble.predict(rows)[:, 0], scores, atol=1e-12)
