"""Pipelines of scikit-learn: outputs, penalties and effects against scikit-learn itself."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import linear_model, neural_network, preprocessing
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from skops import io

import fastif
from fastif import InputError
from fastif.losses.cross_entropy import CrossEntropy, balanced_weights
from fastif.pipelines.fitted_pipeline import read_pipeline

ROWS, QUERIES = 90, 6


def make_frame(seed=0, count=ROWS):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(count, 3)), columns=["a", "b", "c"])
    frame["job"] = random.choice(["cook", "clerk", "nurse"], count)
    frame.loc[::17, "a"] = np.nan
    score = frame["b"] + (frame["job"] == "cook") + 0.7 * random.normal(size=count)
    return frame, score.to_numpy()


def make_labels(score, classes):
    if classes is None:
        return score
    return np.digitize(score, [0.3] if classes == 2 else [-0.2, 0.8])


def prepare():
    numbers = make_pipeline(SimpleImputer(), preprocessing.StandardScaler())
    return make_column_transformer(
        (numbers, ["a", "b", "c"]), (preprocessing.OneHotEncoder(), ["job"])
    )


def fit(estimator, classes, path):
    frame, score = make_frame()
    labels = make_labels(score, classes)
    pipeline = make_pipeline(prepare(), estimator).fit(frame, labels)
    io.dump(pipeline, path / "model.skops")
    return pipeline, read_pipeline(path / "model.skops"), frame, labels


EXACT = {"tol": 1e-12, "max_iter": 20_000}
DECAYED = {"alpha": 0.5, **EXACT}
CASES = [
    (linear_model.LogisticRegression(C=0.3, **EXACT), 2),
    (linear_model.LogisticRegression(C=5.0, **EXACT), 3),
    (linear_model.LogisticRegression(C=2.0, class_weight={0: 3.0, 1: 0.5}, **EXACT), 2),
    (linear_model.LogisticRegression(C=2.0, class_weight={2: 4.0}, **EXACT), 3),
    (linear_model.LogisticRegression(C=0.4, solver="liblinear", intercept_scaling=2, **EXACT), 2),
    (linear_model.LogisticRegression(C=0.4, fit_intercept=False, **EXACT), 2),
    (linear_model.Ridge(alpha=3.0), None),
    (linear_model.LinearRegression(), None),
    (neural_network.MLPClassifier((4,), "tanh", solver="lbfgs", alpha=0.5, **EXACT), 3),
    (neural_network.MLPClassifier((4,), "logistic", solver="lbfgs", alpha=0.5, **EXACT), 2),
    (neural_network.MLPRegressor("squared_error", (3,), "tanh", solver="lbfgs", **DECAYED), None),
]


@pytest.mark.parametrize(("estimator", "classes"), CASES)
def test_outputs_are_those_of_the_pipeline(estimator, classes, tmp_path):
    pipeline, read, _, _ = fit(clone(estimator), classes, tmp_path)
    frame = make_frame(1, QUERIES)[0]
    rows = [dict(row) for _, row in frame.iterrows()]
    objective = read.make_objective(ROWS)
    batch = {"inputs": read.collate(rows), "labels": torch.zeros(QUERIES)}
    outputs = objective.outputs(objective.params, batch)
    if classes is None:
        truth = torch.tensor(pipeline.predict(frame))[:, None]
        assert torch.allclose(outputs, truth, atol=1e-12)
    else:
        truth = torch.tensor(pipeline.predict_proba(frame))
        assert torch.allclose(outputs.softmax(1), truth, atol=1e-12)
        assert read.head.classes == tuple(map(str, range(classes)))


@pytest.mark.parametrize(("estimator", "classes"), CASES)
def test_the_gradient_of_the_objective_vanishes_at_the_fit(estimator, classes, tmp_path):
    """A penalty by a wrong factor, as by sum or mean, leaves a gradient of its own size."""
    _, read, frame, labels = fit(clone(estimator), classes, tmp_path)
    objective = read.make_objective(ROWS)
    batch = read.make_examples(frame, torch.tensor(labels)).take(torch.arange(ROWS))
    params = {name: value.clone().requires_grad_() for name, value in objective.params.items()}
    objective.losses(params, batch).mean().backward()
    tolerance = 2e-2 if "MLP" in type(estimator).__name__ else 1e-5
    is_liblinear = getattr(estimator, "solver", "") == "liblinear"
    for value in params.values():
        assert value.grad is not None
        decayed = objective.penalty * value.detach()
        if not is_liblinear and getattr(estimator, "fit_intercept", True):
            decayed[:, -1] = 0.0  # biases have no penalty
            value.grad[:, -1] /= read.head.bias_scale
        size = max(float(decayed.norm()), 1e-2)
        assert float((value.grad + decayed).norm()) < tolerance * size


def compute_effects(read, frame, labels, leverage, loss=None):
    objective = read.make_objective(ROWS, loss)
    train = read.make_examples(frame, torch.tensor(labels))
    others, score = make_frame(1, QUERIES)
    classes = read.head.classes
    wanted = make_labels(score, None if classes is None else len(classes))
    queries = read.make_examples(others, torch.tensor(wanted))
    curvature = fastif.GaussNewton(objective, train)
    operator = fastif.curvature.operator.DampedOperator(curvature, objective.penalty or 1e-9)
    attribute = fastif.Attributor(
        objective, train, operator, fastif.Direct(), fastif.ExhaustiveSearch(), leverage=leverage
    )
    answer = attribute(queries).influences
    effects = torch.zeros(QUERIES, ROWS, dtype=answer.removal_effect.dtype)
    return effects.scatter_(1, answer.ids, answer.removal_effect), others, wanted


def measure(pipeline, frame, wanted, is_regression):
    if is_regression:
        return (pipeline.predict(frame) - wanted) ** 2
    chances = pipeline.predict_proba(frame)
    return -np.log(chances[np.arange(len(wanted)), wanted])


LINEAR = [case for case in CASES if "MLP" not in type(case[0]).__name__]


@pytest.mark.parametrize(("estimator", "classes"), LINEAR)
def test_effects_are_those_of_the_dense_objective_of_scikit_learn(estimator, classes, tmp_path):
    """Written with its own C, alpha and class weights, and an intercept without penalty."""
    pipeline, read, frame, labels = fit(clone(estimator), classes, tmp_path)
    effects, others, wanted = compute_effects(read, frame, labels, "off")
    x = torch.tensor(np.asarray(pipeline[:-1].transform(frame)))
    z = torch.tensor(np.asarray(pipeline[:-1].transform(others)))
    y, v = torch.tensor(labels), torch.tensor(wanted)
    last = pipeline[-1]
    weights = torch.ones(ROWS).double()
    for label, weight in (getattr(last, "class_weight", None) or {}).items():
        weights[y == label] = weight

    def compute_losses(params, inputs, targets):
        coefficients, intercept = params[:-size_b].view(size_b, -1), params[-size_b:]
        outputs = inputs @ coefficients.T + (intercept if last.fit_intercept else 0.0)
        if classes is None:
            return (outputs[:, 0] - targets) ** 2
        if classes == 2:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], 1)
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

    size_b = len(np.atleast_2d(last.coef_))
    params = torch.tensor(np.concatenate([np.ravel(last.coef_), np.ravel(last.intercept_)]))
    factor = {"LogisticRegression": getattr(last, "C", 1.0)}.get(type(last).__name__, 1.0)
    alpha = {"LogisticRegression": 0.5, "Ridge": getattr(last, "alpha", 0)}.get(
        type(last).__name__, 0.0
    )

    def objective(params):
        total = factor * (weights * compute_losses(params, x, y)).sum()
        penalised = params[:-size_b].square().sum()
        if getattr(last, "solver", "") == "liblinear":
            penalised = penalised + (params[-size_b:] / last.intercept_scaling).square().sum()
        return total + alpha * penalised

    hessian = torch.autograd.functional.hessian(objective, params)
    jacobian = torch.autograd.functional.jacobian
    rows = factor * weights[:, None] * jacobian(lambda p: compute_losses(p, x, y), params)
    queries = jacobian(lambda p: compute_losses(p, z, v), params)
    truth = queries @ torch.linalg.pinv(hessian, rtol=1e-10) @ rows.T
    assert (effects - truth).abs().max() < 2e-3 * truth.abs().max()


@pytest.mark.parametrize(("estimator", "classes"), LINEAR[:4] + LINEAR[6:7])
def test_effects_with_leverage_are_those_of_fitting_again_without_a_row(
    estimator, classes, tmp_path
):
    pipeline, read, frame, labels = fit(clone(estimator), classes, tmp_path)
    effects, others, wanted = compute_effects(read, frame, labels, "on")
    before = measure(pipeline, others, wanted, classes is None)
    features = pipeline[:-1].transform(frame)
    inputs = pipeline[:-1].transform(others)
    differences = []
    for row in range(0, ROWS, 6):
        rest = np.arange(ROWS) != row
        again = clone(estimator).fit(features[rest], labels[rest])
        differences.append(measure(again, inputs, wanted, classes is None) - before)
    truth = torch.tensor(np.stack(differences, 1))
    own = effects[:, ::6].double()
    assert torch.corrcoef(torch.stack([own.flatten(), truth.flatten()]))[0, 1] > 0.98
    assert float((own * truth).sum() / own.square().sum()) == pytest.approx(1, abs=0.1)


def test_balanced_class_weights_need_the_labels(tmp_path):
    estimator = linear_model.LogisticRegression(class_weight="balanced", **EXACT)
    _, read, frame, labels = fit(estimator, 2, tmp_path)
    with pytest.raises(InputError, match="balanced"):
        read.make_objective(ROWS)
    loss = CrossEntropy(class_weights=balanced_weights(torch.tensor(labels), 2))
    objective = read.make_objective(ROWS, loss)
    batch = read.make_examples(frame, torch.tensor(labels)).take(torch.arange(ROWS))
    params = {name: value.clone().requires_grad_() for name, value in objective.params.items()}
    objective.losses(params, batch).mean().backward()
    (value,) = params.values()
    rest = value.grad[:, :-1] + objective.penalty * value.detach()[:, :-1]
    assert float(rest.norm()) < 1e-5


@pytest.mark.parametrize("rows", [50, 1000])
def test_penalties_of_batches_and_of_steps(rows, tmp_path):
    adam = neural_network.MLPClassifier((3,), alpha=0.6, max_iter=3)
    with pytest.warns(match="converge"):
        _, read, _, _ = fit(adam, 2, tmp_path)
    assert read.head.penalty.compute(rows) == pytest.approx(0.6 / min(rows, 200))
    assert "stopped before a minimum" in read.head.notes[0]
    _, read, _, _ = fit(linear_model.SGDClassifier(loss="log_loss", alpha=0.02), 2, tmp_path)
    assert read.head.penalty.compute(rows) == 0.02
    _, read, _, _ = fit(linear_model.SGDRegressor(alpha=0.02), None, tmp_path)
    assert read.head.penalty.compute(rows) == 0.04


REFUSED = [
    (linear_model.LogisticRegression(l1_ratio=1.0, solver="saga"), 2, "l1_ratio"),
    (linear_model.SGDClassifier(), 2, "log_loss"),
    (linear_model.SGDClassifier(loss="log_loss"), 3, "two classes"),
    (linear_model.Ridge(positive=True), None, "positive"),
    (linear_model.Lasso(), None, "Lasso"),
    (GaussianNB(), 2, "GaussianNB"),
    (RandomForestClassifier(2), 2, "sklearn.tree._tree.Tree"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "classes", "name"), REFUSED)
def test_other_estimators_and_settings_are_refused_by_name(estimator, classes, name, tmp_path):
    with pytest.raises(InputError, match=name):
        fit(clone(estimator), classes, tmp_path)


def shout(values):
    raise AssertionError("code of a model file was run")


def test_files_with_code_of_their_own_or_pickled_are_refused(tmp_path):
    frame, score = make_frame()
    step = preprocessing.FunctionTransformer(shout)
    pipeline = make_pipeline(step, linear_model.Ridge())
    pipeline.steps[-1][1].fit(frame[["b", "c"]], score)
    io.dump(pipeline, tmp_path / "model.skops")
    with pytest.raises(InputError, match="shout"):
        read_pipeline(tmp_path / "model.skops")
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04K\x01.")
    for name in ("model.pkl", "absent.skops"):
        with pytest.raises(InputError, match="a file of skops"):
            read_pipeline(tmp_path / name)


def test_a_missing_column_is_named(tmp_path):
    _, read, frame, _ = fit(linear_model.Ridge(), None, tmp_path)
    rows = [dict(row) for _, row in frame.drop(columns="job").iterrows()]
    with pytest.raises(InputError, match="job"):
        read.collate(rows)


@pytest.mark.parametrize("marker", [None, np.nan])
def test_missing_categories_are_marked_as_in_the_fit(marker, tmp_path):
    frame = pd.DataFrame({"job": pd.Series(["cook", marker, "clerk", marker] * 5, dtype=object)})
    labels = np.arange(20) % 3
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore")
    pipeline = make_pipeline(encoder, linear_model.Ridge()).fit(frame, labels)
    io.dump(pipeline, tmp_path / "model.skops")
    read = read_pipeline(tmp_path / "model.skops")
    features = read.collate([{"job": None}, {"job": "cook"}])
    assert torch.equal(features.sum(1), torch.ones(2).double())
    truth = torch.tensor(pipeline[:-1].transform(frame.iloc[[1, 0]]).toarray())
    assert torch.equal(features, truth)
