"""Effects on boosted trees against dense derivatives, refits one by one and other formulas."""

import pytest
import torch
from dense_trees import fit_densely
from trained_trees import KINDS, LIBRARIES, encode, make_table, train

from fastif import InputError
from fastif.trees.read_ensemble import read_ensemble
from fastif.trees.trace_training import trace_training
from fastif.trees.tree_attributor import METHODS, TreeAttributor

QUERIES = 7


def measure(kind, scores, targets):
    if kind == "binary":
        return torch.nn.functional.softplus(torch.where(targets == 1, -1, 1) * scores[:, 0])
    if kind == "classes":
        return torch.nn.functional.cross_entropy(scores, targets, reduction="none")
    return (scores[:, 0] - targets) ** 2


def make_training(library, kind, path, weighted=True, rounds=5, **settings):
    rows, targets = make_table(kind, 120)
    random = torch.Generator().manual_seed(0)
    weights = torch.rand(len(rows), generator=random).double() + 0.5 if weighted else None
    numbers = None if weights is None else weights.numpy()
    ensemble, _ = train(library, kind, rows, targets, path, numbers, rounds, **settings)
    table = encode(ensemble, rows)
    training = trace_training(ensemble, table, torch.tensor(targets), weights)
    other, other_targets = make_table(kind, QUERIES, seed=5)
    return training, encode(ensemble, other), torch.tensor(other_targets)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_leaf_influence_is_the_derivative_of_a_dense_training(library, kind, tmp_path):
    training, queries, targets = make_training(library, kind, tmp_path)
    leaves = training.ensemble.assign(queries)
    weights = training.weights.clone().requires_grad_()
    losses = measure(kind, fit_densely(training, weights, leaves), targets)
    truth = torch.stack(
        [-torch.autograd.grad(loss, weights, retain_graph=True)[0] for loss in losses]
    )
    truth = truth * training.weights
    effects = TreeAttributor(training, "leaf-influence").compute_effects(queries, targets)
    assert (effects - truth).abs().max() < 1e-6 * truth.abs().max()
    assert truth.abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_leaf_refit_is_a_dense_training_without_the_row(library, kind, tmp_path):
    training, queries, targets = make_training(library, kind, tmp_path)
    leaves = training.ensemble.assign(queries)
    effects = TreeAttributor(training, "leaf-refit").compute_effects(queries, targets)
    before = measure(kind, fit_densely(training, training.weights, leaves), targets)
    for row in (0, 17, 60):
        without = training.weights.clone()
        without[row] = 0.0
        after = measure(kind, fit_densely(training, without, leaves), targets)
        assert torch.allclose(effects[:, row], after - before, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_boostin_is_its_sum_over_rounds_written_out(kind, tmp_path):
    training, queries, targets = make_training("lightgbm", kind, tmp_path)
    ensemble, loss = training.ensemble, training.ensemble.loss
    leaves = ensemble.assign(queries)
    truth = torch.zeros(len(queries), len(training)).double()
    train_scores = ensemble.base.expand(len(training), -1).clone()
    query_scores = ensemble.base.expand(len(queries), -1).clone()
    place = 0
    for trees in ensemble.rounds:
        outputs = query_scores.clone().requires_grad_()
        (slope,) = torch.autograd.grad(measure(kind, outputs, targets).sum(), outputs)
        g = loss.gradient(train_scores, training.targets)
        h = loss.curvature(train_scores)
        for k, tree in enumerate(trees):
            own = training.leaves[place]
            for row in range(len(training)):
                leaf = int(own[row])
                total = (training.weights * h[:, k])[own == leaf].sum() + training.l2[place][leaf]
                step = float(tree.values[leaf, 0]) / tree.rate if tree.rate else 0.0
                change = training.weights[row] * tree.rate * (g[row, k] + h[row, k] * step) / total
                truth[:, row] += (leaves[place] == leaf) * slope[:, k] * change
            place += 1
        for k, tree in enumerate(trees):
            train_scores[:, k] += tree.values[training.leaves[place - len(trees) + k].long(), 0]
            query_scores[:, k] += tree.values[leaves[place - len(trees) + k].long(), 0]
    effects = TreeAttributor(training, "boostin").compute_effects(queries, targets)
    assert torch.allclose(effects, truth, atol=1e-10)


def test_the_kernel_is_one_newton_step_of_a_kernel_model(tmp_path):
    """For the squared error one step is exact: kernel ridge regression without a row's residual."""
    training, queries, targets = make_training("xgboost", "number", tmp_path, weighted=False)
    attributor = TreeAttributor(training, "kernel", kernel_penalty=0.7)
    leaves = training.ensemble.assign(queries)
    own = (training.leaves[:, :, None] == training.leaves[:, None]).double().mean(0)
    cross = (leaves[:, :, None] == training.leaves[:, None]).double().mean(0)
    scores = training.ensemble.predict(encode(training.ensemble, make_table("number", 120)[0]))
    residual = scores[:, 0] - training.targets
    moves = cross @ torch.linalg.inv(own + 0.7 * torch.eye(120).double()) * residual
    slope = 2 * (training.ensemble.predict(queries)[:, 0] - targets)
    assert torch.allclose(attributor.compute_effects(queries, targets), slope[:, None] * moves)


@pytest.mark.parametrize("method", METHODS)
def test_effects_do_not_depend_on_tiles(method, tmp_path):
    training, queries, targets = make_training("lightgbm", "classes", tmp_path)
    whole = TreeAttributor(training, method).compute_effects(queries, targets)
    tiles = TreeAttributor(training, method, memory_gb=1e-4).compute_effects(queries, targets)
    assert torch.allclose(whole, tiles, atol=1e-12)


def test_influences_are_the_extremes_of_all_effects(tmp_path):
    training, queries, targets = make_training("catboost", "binary", tmp_path)
    attributor = TreeAttributor(training)
    effects = attributor.compute_effects(queries, targets)
    influences = attributor(queries, targets, keep=3)
    ordered = effects.sort(1).values
    assert torch.equal(influences.removal_effect, torch.cat([ordered[:, :3], ordered[:, -3:]], 1))
    assert torch.equal(effects.gather(1, influences.ids), influences.removal_effect)


def test_a_lightgbm_sigmoid_is_part_of_the_loss_of_queries(tmp_path):
    training, queries, targets = make_training("lightgbm", "binary", tmp_path, sigmoid=2.0)
    effects = TreeAttributor(training, "leaf-refit").compute_effects(queries, targets)
    approximate = TreeAttributor(training).compute_effects(queries, targets)
    assert torch.corrcoef(torch.stack([effects.flatten(), approximate.flatten()]))[0, 1] > 0.99
    slope = (effects * approximate).sum() / approximate.square().sum()
    assert 0.9 < slope < 1.3


def test_wrong_methods_and_targets_are_refused(tmp_path):
    training, queries, targets = make_training("lightgbm", "binary", tmp_path)
    with pytest.raises(InputError, match="leaf-influence"):
        TreeAttributor(training, "shap")
    with pytest.raises(InputError):
        TreeAttributor(training).compute_effects(queries, targets + 5)
    with pytest.raises(InputError, match="for each query"):
        TreeAttributor(training).compute_effects(queries[:3], targets)
    assert TreeAttributor(training)(queries[:0], targets[:0]).ids.shape == (0, 40)


@pytest.mark.parametrize(("kind", "factor"), [("binary", 1.0), ("number", 2.0)])
def test_leaf_influence_is_that_of_catboost_itself(kind, factor, tmp_path):
    """Its importances have the opposite sign, and half of the squared error."""
    catboost = pytest.importorskip("catboost")
    rows, targets = make_table(kind, 120)
    base = {"loss_function": {"binary": "Logloss", "number": "RMSE"}[kind], "iterations": 6}
    base |= {"depth": 3, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    base |= {"boost_from_average": False, "leaf_estimation_iterations": 1}
    model = catboost.CatBoost({**base, "boosting_type": "Plain"})
    pool = catboost.Pool(rows, targets)
    model.fit(pool)
    model.save_model(str(tmp_path / "model.json"), format="json")
    others, wanted = make_table(kind, QUERIES, seed=5)
    ids, scores = model.get_object_importance(
        catboost.Pool(others, wanted),
        pool,
        type="PerObject",
        update_method="AllPoints",
        thread_count=1,
    )
    truth = torch.zeros(QUERIES, 120).double()
    truth.scatter_(1, torch.tensor(ids), -factor * torch.tensor(scores).double())
    training = trace_training(
        read_ensemble(tmp_path / "model.json"), torch.tensor(rows), torch.tensor(targets)
    )
    effects = TreeAttributor(training).compute_effects(torch.tensor(others), torch.tensor(wanted))
    assert (effects - truth).abs().max() < 1e-4 * truth.abs().max()
