"""Confirmation by retraining: the reverted night is the earlier one, loss by loss."""

import json
import shutil

import polars as pl
import pytest
import tiny
from command_line import run

from tasks.bisection.bisect_runs import bisect_runs
from tasks.bisection.confirm import confirm_suspects
from tasks.bisection.retrain import retrain
from tasks.bisection.retraining_recipe import find_recipe
from tasks.bisection.reverted_rows import read_stored_table, revert_group
from tasks.models.finetune import train_model
from tasks.study.study import load_study

RECIPE = {"base": "base", "epochs": 8, "learning_rate": 5e-3, "batch_size": 16}
RECIPE |= {"checkpoints": [], "record": False, "seed": 3}
FULL = {"kind": "full", "totals": True, "keep": 4}


def write(world, **changes):
    """Write the study with a recipe, a full scan and sources of the training rows."""
    known = {
        "model": {"path": "out/trained"},
        "training": RECIPE,
        "candidates": FULL,
        "train": {"groups": ["kind"]},
    }
    return tiny.write_study(world, **{**known, **changes})


def train_and_audit(world, **changes):
    study = write(world, **changes)
    train_model.fn(str(study))
    return tiny.run_directly(study)


@pytest.fixture(scope="module")
def first_night(made, tmp_path_factory):
    """The tiny study, trained by its recipe and audited; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("nights") / "world")
    train_and_audit(folder)
    return folder


def add(rows):
    flip = {"neg": "pos", "pos": "neg"}
    new = [
        {**row, "id": f"new-{i}", "text": f"{row['text']} film", "label": flip[row["label"]],
         "kind": "day-2"}
        for i, row in enumerate(rows[:14])
    ]  # fmt: skip
    return [*rows, *new]


def relabel(rows):
    return [
        {**row, "label": "pos", "kind": "day-2"} if i < 14 else row for i, row in enumerate(rows)
    ]


def remove(rows):
    """Remove the last rows, which a reverted table has last too."""
    return rows[:-14]


@pytest.fixture(scope="module")
def second_night(first_night, tmp_path_factory):
    """The second night with rows added; copied, never changed."""
    folder = tiny.copy(first_night, tmp_path_factory.mktemp("second") / "world")
    change_table(folder, add)
    train_and_audit(folder)
    return folder


def change_table(folder, change):
    path = folder / "train.csv"
    tiny.write_rows(path, change(tiny.rows_of(path)))


def names_of(store):
    return [status.record.run for status in reversed(store.list_runs())]


@pytest.mark.long
@pytest.mark.parametrize("change", [relabel, remove])
def test_without_its_only_change_the_later_night_is_the_earlier_one(first_night, tmp_path, change):
    """The retraining has the rows and the seed of the earlier run, hence its losses."""
    folder = tiny.copy(first_night, tmp_path / "world")
    change_table(folder, change)
    store, after = train_and_audit(folder, train={"groups": []})
    before = names_of(store)[0]
    study = load_study(write(folder, train={"groups": []}))
    bisection = bisect_runs(store, before, after)
    labels = study.labels
    later, earlier = (
        read_stored_table(store, name, "train", labels, {}) for name in (after, before)
    )
    queries = read_stored_table(store, after, "queries", labels, {})
    recipe = find_recipe(study, store.read_record(after), lambda: later)
    table = later
    for each in bisection.contributions:
        table = revert_group(table, earlier, each.group)
    losses = retrain(recipe, table, queries, recipe.seed, "test")
    truth = store.scan("queries", before).sort("query").collect()["loss"].to_list()
    assert losses == pytest.approx(truth, rel=1e-4, abs=1e-5)
    assert bisection.losses.before == pytest.approx(sum(truth) / len(truth), rel=1e-5)


@pytest.mark.long
def test_the_unchanged_rows_with_the_same_seed_give_the_losses_of_the_run(second_night):
    study = load_study(second_night / "study.toml")
    store = tiny_store(study)
    run_name = names_of(store)[-1]
    later, queries = (
        read_stored_table(store, run_name, name, study.labels, {}) for name in ("train", "queries")
    )
    recipe = find_recipe(study, store.read_record(run_name), lambda: later)
    losses = retrain(recipe, later, queries, recipe.seed, "test")
    truth = store.scan("queries", run_name).sort("query").collect()["loss"].to_list()
    assert losses == pytest.approx(truth, rel=1e-4, abs=1e-5)


def tiny_store(study):
    from tasks.run.existing_store import open_existing_store

    return open_existing_store(study)


def test_the_command_confirms_the_batch_of_flipped_labels(second_night):
    """The suspect is reverted in one retraining, and another seed is the control."""
    study = second_night / "study.toml"
    words = ("bisect", "previous", "latest", "--study", study)
    code, out, _ = run(*words, "--format", "json")
    assert code == 0
    content = json.loads(out)
    (group,) = content["groups"]
    assert (group["kind"], group["column"], group["source"]) == ("added", "kind", "day-2")
    assert (group["rows"], group["stored"]) == (14, 1.0)
    totals = tiny_store(load_study(study)).scan("totals", content["runs"][1]).collect()
    of_new = totals.filter(pl.col("train") >= 60)["removal_effect"].sum()
    assert group["contribution"] == pytest.approx(-of_new / 17, rel=1e-6)
    assert content["noise"]["pairs"] == 1
    # The only change is reverted, with the seed of the run: the earlier night.
    assert group["retraining"]["effect"] == pytest.approx(content["change"], abs=1e-5)
    code, out, _ = run(*words, "--format", "md", "--confirm", 0)
    assert code == 0
    assert "| added, kind day-2 | 14 |" in out
    assert "noise of retraining is not measured, so no group is blamed" in out
    code, out, _ = run(*words, "--confirm", 0, "--slice", "plain")
    assert code == 0
    assert "Mean loss of slice plain" in out


def test_a_study_without_training_says_why_nothing_is_confirmed(second_night, tmp_path):
    folder = tiny.copy(second_night, tmp_path / "world")
    study = write(folder, training=None)
    code, out, _ = run("bisect", "previous", "latest", study, "--format", "md")
    assert code == 0
    assert "First suspect, not confirmed: added, kind day-2 (the study has no section" in out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training": {**RECIPE, "epochs": 9}}, "other settings than the training"),
        ({"training": {**RECIPE, "seed": 4}}, "other settings than the training"),
        ({"model": {"path": "model"}}, "does not hold the model of run"),
        ({"top": {"labels": ["pos", "neg"]}}, "the study has other labels than run"),
    ],
)
def test_without_the_recipe_of_the_run_nothing_is_trained(second_night, tmp_path, changes, reason):
    folder = tiny.copy(second_night, tmp_path / "world")
    study = load_study(write(folder, **changes))
    store = tiny_store(study)
    bisection = bisect_runs(store, *names_of(store))
    conclusion = confirm_suspects(study, store, bisection, 1)
    assert reason in conclusion.reason
    assert conclusion.retrainings == ()
    assert conclusion.blamed == ()


def test_a_model_without_a_record_is_not_trained_again(second_night, tmp_path):
    folder = tiny.copy(second_night, tmp_path / "world")
    (folder / "out" / "trained" / "fastif-training.json").unlink()
    study = load_study(folder / "study.toml")
    store = tiny_store(study)
    conclusion = confirm_suspects(study, store, bisect_runs(store, *names_of(store)), 1)
    assert "no training record" in conclusion.reason
    shutil.rmtree(folder / "out")
    conclusion = confirm_suspects(study, store, bisect_runs(store, *names_of(store)), 1)
    assert "does not hold the model" in conclusion.reason


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("latest", "latest"), "one run twice"),
        (("previous", "no-such-run"), "no-such-run"),
        (("previous", "latest", "--slice", "nowhere"), "plain"),
        (("previous", "latest", "--by", "batch"), "a group column of the training rows: kind"),
    ],
)
def test_the_command_refuses_with_a_sentence(second_night, words, message):
    code, out, errors = run("bisect", *words, "--study", second_night / "study.toml")
    assert code == 2
    assert message in " ".join(errors.split())
    assert "Traceback" not in out + errors
