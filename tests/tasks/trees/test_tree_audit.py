"""Audits of boosted trees: scores against dense derivatives, for any shards and order."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from dense_trees import fit_densely
from tiny import scores_by_id
from torch.nn.functional import cross_entropy, softplus
from tree_worlds import make_audit_world, write_tree_study

from fastif.trees.read_ensemble import read_ensemble
from fastif.trees.trace_training import trace_training
from fastif.trees.tree_attributor import TreeAttributor
from tasks.audit.in_process import audit_in_process
from tasks.planning.open_run import open_run
from tasks.run.spec import plan_run
from tasks.run.tree_run import get_tree_queries, make_tree_scan

WORLDS = [("class", "lightgbm"), ("classes", "lightgbm"), ("number", "xgboost")]
NAMES = {"class": ["no", "yes"], "classes": ["low", "mid", "high"]}


def copy_world(study, folder):
    for path in study.parent.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())


def audit(study):
    return audit_in_process(plan_run(study))


def read_matrix(folder, name, ensemble):
    """Features of a table as the library numbers them, read without the project."""
    frame = pl.read_parquet(folder / f"{name}.parquet")
    numbers = dict(ensemble.categories[2])
    jobs = pl.Series([float(numbers.get(job, 99)) for job in frame["job"]])
    columns = [frame["age"].fill_null(np.nan), frame["income"], jobs]
    return frame, torch.tensor(np.stack([column.to_numpy() for column in columns], 1))


def read_targets(frame, target):
    labels = frame["label"].to_list()
    if target == "number":
        return torch.tensor(labels).double()
    return torch.tensor([NAMES[target].index(label) for label in labels])


def repeat_training(study, target):
    """Training of the study's model with its weights, and its queries."""
    folder = study.parent
    model = next(path for path in folder.iterdir() if path.stem == "model")
    ensemble = read_ensemble(model)
    train, rows = read_matrix(folder, "train", ensemble)
    queries, query_rows = read_matrix(folder, "queries", ensemble)
    weights = torch.tensor(train["weight"].to_numpy())
    training = trace_training(ensemble, rows, read_targets(train, target), weights)
    return training, query_rows, read_targets(queries, target)


def measure(scores, targets, target):
    if target == "class":
        return softplus(torch.where(targets == 1, -1, 1) * scores[:, 0])
    if target == "classes":
        return cross_entropy(scores, targets, reduction="none")
    return (scores[:, 0] - targets) ** 2


def compute_effects(training, rows, targets, target):
    """First-order effects of removing each row, by autograd through the dense training."""
    leaves = training.ensemble.assign(rows)
    weights = training.weights.clone().requires_grad_()
    losses = measure(fit_densely(training, weights, leaves), targets, target)
    slopes = [torch.autograd.grad(loss, weights, retain_graph=True)[0] for loss in losses]
    return -torch.stack(slopes) * training.weights


def as_matrix(store, run, train=120):
    """Stored effects by query and training row."""
    scores = store.scan("scores", run).collect()
    matrix = np.full((store.read_record(run).query_rows, train), np.nan)
    matrix[scores["query"].to_numpy(), scores["train"].to_numpy()] = scores["removal_effect"]
    return matrix


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Studies that were audited: their file, store and run, by kind of target."""
    finished = {}
    for target, library in WORLDS:
        folder = tmp_path_factory.mktemp(target)
        study = make_audit_world(folder, target, library)
        finished[target] = (study, *audit(study))
    return finished


@pytest.mark.parametrize("target", [target for target, _ in WORLDS])
def test_scores_are_dense_derivatives_in_the_weights(worlds, target):
    study, store, run = worlds[target]
    training, rows, targets = repeat_training(study, target)
    truth = compute_effects(training, rows, targets, target).numpy()
    own = as_matrix(store, run)
    assert not np.isnan(own).any()  # 100 rows are kept at each end, of 120
    assert np.allclose(own, truth, rtol=1e-5, atol=2e-6 * abs(truth).max())
    library = TreeAttributor(training).compute_effects(rows, targets).numpy()
    if target != "number":  # whose labels are rounded to single precision, as the libraries do
        assert np.array_equal(own.astype(np.float32), library.astype(np.float32))


@pytest.mark.parametrize("target", [target for target, _ in WORLDS])
def test_totals_are_sums_by_correctness_and_group(worlds, target):
    study, store, run = worlds[target]
    training, rows, targets = repeat_training(study, target)
    truth = compute_effects(training, rows, targets, target).numpy()
    scores = training.ensemble.predict(rows)
    kinds = pl.read_parquet(study.parent / "queries.parquet")["kind"].to_numpy()
    correct = np.full(8, None)
    if target != "number":
        chosen = (scores[:, 0] > 0).long() if target == "class" else scores.argmax(1)
        correct = (chosen == targets).numpy().astype(object)
    totals = store.scan("totals", run).collect()
    sums = totals.group_by("train", "correct", "group").agg(
        pl.col("removal_effect").sum(), pl.col("queries").sum()
    )
    assert len(sums) == 120 * len({*zip(correct, kinds, strict=True)})
    for train, is_right, kind, effect, count in sums.rows():
        mask = (correct == is_right) & (kinds == kind)
        assert count == mask.sum()
        assert np.isclose(effect, truth[mask, train].sum(), atol=2e-6 * abs(truth).max())


def test_tables_have_predictions_and_no_curvature(worlds):
    study, store, run = worlds["class"]
    training, rows, targets = repeat_training(study, "class")
    chance = torch.sigmoid(training.ensemble.predict(rows)[:, 0])
    own = torch.where(targets == 1, chance, 1 - chance)
    queries = store.scan("queries", run).collect().sort("query")
    assert np.allclose(queries["probability"], own, atol=1e-6)
    assert np.allclose(queries["loss"], -own.log(), atol=1e-6)
    assert queries["prediction"].to_list() == ["yes" if p > 0.5 else "no" for p in chance]
    solves = store.scan("solves", run).collect()
    assert solves["damping"].null_count() == solves["residual"].null_count() == 8
    assert solves["solver"].unique().to_list() == ["leaf-influence"]
    facts = store.scan("runs", run).collect().to_dicts()[0]
    assert facts["damping"] is None
    values = sum(tree.values.numel() for tree in training.ensemble.trees)
    assert facts["parameters"] == values
    train = store.scan("train", run).collect()
    assert np.allclose(train["weight"], training.weights)


def test_scores_do_not_depend_on_shards_or_the_order_of_queries(worlds, tmp_path):
    study, store, run = worlds["class"]
    copy_world(study, tmp_path)
    queries = pl.read_parquet(tmp_path / "queries.parquet").reverse()
    queries.write_parquet(tmp_path / "queries.parquet")
    keys = {"train": {"weight": "weight"}, "queries": {"groups": ["kind"]}}
    other = write_tree_study(
        tmp_path, model={"path": "model.txt", "max_length": None}, run={"shard_size": 8}, **keys
    )
    first, second = (scores_by_id(*each) for each in ((store, run), audit(other)))
    names = ["query_id", "train_id", "removal_effect", "rank"]
    assert first.select(names).equals(second.select(names))


def test_an_audit_continues_from_its_committed_shards(worlds, tmp_path):
    study, _, run = worlds["class"]
    copy_world(study, tmp_path)
    first, name = audit(tmp_path / study.name)
    assert name == run
    before = as_matrix(first, name)
    manifests = sorted((tmp_path / "store" / "runs" / name / "manifest").glob("0*.json"))
    assert len(manifests) >= 3
    kept = {path: path.stat().st_mtime_ns for path in manifests[1:]}
    manifests[0].unlink()
    again, name = audit(tmp_path / study.name)
    assert np.array_equal(as_matrix(again, name), before)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_tiles_do_not_change_scores(worlds):
    study, _, _ = worlds["classes"]
    context = open_run(plan_run(study))
    queries, ids = get_tree_queries(context), torch.arange(8)
    whole = make_tree_scan(context)
    tiny = replace(whole, memory_gb=1e-9)  # one query a tile
    slices = torch.arange(8) % 2
    first, second = whole(queries, ids, slices), tiny(queries, ids, slices)
    assert torch.equal(first.influences.ids, second.influences.ids)
    assert torch.equal(first.influences.removal_effect, second.influences.removal_effect)
    assert torch.allclose(first.totals.effects, second.totals.effects)


def test_leaf_refit_is_the_change_without_a_row(worlds, tmp_path):
    study, _, _ = worlds["number"]
    copy_world(study, tmp_path)
    other = write_tree_study(
        tmp_path,
        "number",
        model={"path": "model.json", "max_length": None},
        train={"weight": "weight"},
        trees={"method": "leaf-refit"},
        run={"shard_size": 8},
        candidates={"kind": "full", "keep": 2, "totals": False},
    )
    store, run = audit(other)
    training, rows, targets = repeat_training(study, "number")
    leaves = training.ensemble.assign(rows)
    base = measure(fit_densely(training, training.weights, leaves), targets, "number")
    scores = store.scan("scores", run).collect()
    assert len(scores) == 8 * 4
    for query, train, effect in (
        scores.filter(pl.col("rank") < 2).select("query", "train", "removal_effect").rows()
    ):
        weights = training.weights.clone()
        weights[train] = 0.0
        after = measure(fit_densely(training, weights, leaves), targets, "number")
        assert np.isclose(effect, float(after[query] - base[query]), rtol=1e-4)


def test_queries_without_labels_are_explained_by_the_predicted_label(worlds, tmp_path):
    study, _, _ = worlds["class"]
    copy_world(study, tmp_path)
    frame = pl.read_parquet(tmp_path / "queries.parquet")
    half = frame.with_columns(label=pl.when(pl.int_range(8) % 2 == 0).then(pl.col("label")))
    half.write_parquet(tmp_path / "queries.parquet")
    other = write_tree_study(
        tmp_path, model={"path": "model.txt", "max_length": None}, train={"weight": "weight"}
    )
    store, run = audit(other)
    training, rows, targets = repeat_training(study, "class")
    predicted = (training.ensemble.predict(rows)[:, 0] > 0).long()
    chosen = torch.where(torch.arange(8) % 2 == 0, targets, predicted)
    truth = compute_effects(training, rows, chosen, "class").numpy()
    assert np.allclose(as_matrix(store, run), truth, rtol=1e-5, atol=2e-6 * abs(truth).max())
    queries = store.scan("queries", run).collect().sort("query")
    assert queries["measure"].to_list() == ["loss", "log-probability"] * 4


@pytest.mark.parametrize("name", ["margin", "entropy"])
def test_other_measures_are_differentiated_at_the_logits(worlds, tmp_path, name):
    study, _, _ = worlds["classes"]
    copy_world(study, tmp_path)
    other = write_tree_study(
        tmp_path,
        "classes",
        model={"path": "model.txt", "max_length": None},
        train={"weight": "weight"},
        queries={"measure": name},
    )
    store, run = audit(other)
    training, rows, _ = repeat_training(study, "classes")
    leaves = training.ensemble.assign(rows)
    weights = training.weights.clone().requires_grad_()
    scores = fit_densely(training, weights, leaves)
    shares = scores.softmax(1)
    if name == "entropy":  # more of it is worse
        worse = -(shares * shares.log()).sum(1)
    else:
        top = scores.argmax(1, keepdim=True)
        others = scores.scatter(1, top, -torch.inf).amax(1)
        worse = others - scores.gather(1, top)[:, 0]
    slopes = [torch.autograd.grad(value, weights, retain_graph=True)[0] for value in worse]
    truth = (-torch.stack(slopes) * training.weights).numpy()
    assert np.allclose(as_matrix(store, run), truth, rtol=1e-5, atol=2e-6 * abs(truth).max())
