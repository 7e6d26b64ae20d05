"""Differences between a study and the training of its model are reported with consequences."""

import json
import shutil

import polars as pl
import pytest
import tiny
from typer.testing import CliRunner

from fastif import InputError
from flows.cli import app as cli
from flows.cli.common import out
from tasks.models import provenance
from tasks.models.compare_training import LENGTH, LOSS, PENALTY, RECIPE
from tasks.models.finetune import train_model
from tasks.models.provenance import ADDED, CHANGED, GONE, RELABELLED, UNREAD
from tasks.models.training_record import RECORD_FILE, TRAINING_ROWS_FILE
from tasks.planning.open_run import validate_run
from tasks.results.provenance_since import find_changes_since
from tasks.results.summary import read_summary
from tasks.run.assemble import get_provenance
from tasks.run.spec import plan_run

RECIPE_OF = {"base": "base", "epochs": 2, "batch_size": 16}
MODEL = {"path": "out/trained"}


@pytest.fixture(scope="module")
def taught(made, tmp_path_factory):
    """The tiny study with a model that `fastif train` made; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("taught") / "made")
    train_model.fn(str(write(folder)))
    return folder


@pytest.fixture
def world(taught, tmp_path):
    return tiny.copy(taught, tmp_path / "world")


def write(folder, model=None, training=None, **changes):
    model, training = {**MODEL, **(model or {})}, {**RECIPE_OF, **(training or {})}
    return tiny.write_study(folder, model=model, training=training, **changes)


def read_provenance(study):
    return get_provenance(validate_run(plan_run(study)))


def change_rows(folder, change):
    rows = tiny.rows_of(folder / "train.csv")
    change(rows)
    tiny.write_rows(folder / "train.csv", rows)


def test_a_model_trained_as_the_study_states_has_no_differences(world):
    known = read_provenance(write(world))
    assert known.differences == ()
    assert list(known.trained) == [True] * tiny.TRAIN


def test_other_ids_groups_and_order_are_the_same_rows(world):
    def change(rows):
        rows.reverse()
        for number, row in enumerate(rows):
            row["id"] = f"new-{number}"

    change_rows(world, change)
    known = read_provenance(write(world))
    assert known.differences == ()
    assert all(known.trained)


def test_added_relabelled_and_removed_rows_are_differences(world):
    """The expected result is known for each change."""
    rows = tiny.rows_of(world / "train.csv")
    flipped = tiny.LABELS[1 - tiny.LABELS.index(rows[10]["label"])]

    def change(rows):
        rows[10]["label"] = flipped
        del rows[20:23]
        rows.insert(0, {**rows[5], "id": "again"})  # one copy more than in training
        rows.append({**rows[6], "id": "new", "text": "a slow plot"})

    change_rows(world, change)
    known = read_provenance(write(world))
    names = [row["id"] for row in tiny.rows_of(world / "train.csv")]
    odd = [name for name, fits in zip(names, known.trained, strict=True) if not fits]
    # One of two copies was trained on; it does not matter which.
    assert set(odd) == {rows[10]["id"], "new", rows[5]["id"]}
    assert [difference.means for difference in known.differences] == [ADDED, RELABELLED, GONE]
    assert known.differences[0].what.startswith("2 training rows added after the training")
    assert known.differences[1].what == (
        f"1 training row relabelled since the training ({rows[10]['id']})"
    )
    assert known.differences[2].what.startswith("3 rows of the training")


CHANGES = {
    "length": ({"model": {"max_length": 5}}, ["max_length is 5 but was 10"], LENGTH),
    "smoothing": ({"loss": {"label_smoothing": 0.1}}, ["label_smoothing is 0.1 but was 0"], LOSS),
    "weights": ({"loss": {"class_weights": [1.0, 2.0]}}, ["class_weights", "[1.0, 2.0]"], LOSS),
    "balanced": ({"loss": {"class_weights": "balanced"}}, ["balanced", "was null"], LOSS),
    "epochs": ({"training": {"epochs": 3}}, ["[training] epochs is 3 but was 2"], RECIPE),
    "seed": ({"training": {"seed": 1}}, ["[training] seed is 1 but was 0"], RECIPE),
    "decay": ({"training": {"weight_decay": 0.2}}, ["weight_decay", "0.2", "0.01"], RECIPE),
    "coupled": (
        {"loss": {"weight_decay": 0.01, "weight_decay_kind": "coupled"}},
        ["coupled", "decoupled"],
        PENALTY,
    ),
    "base": ({"training": {"base": "model"}}, ["digest of [training] base"], RECIPE),
    "trainable": ({"training": {"trainable": "all"}}, ['"all" but was "last:1"'], RECIPE),
}


@pytest.mark.default_cases("length", "smoothing", "base")
@pytest.mark.parametrize("case", CHANGES.values(), ids=list(CHANGES))
def test_every_setting_that_differs_is_reported_with_its_consequence(world, case):
    changes, words, means = case
    (difference,) = read_provenance(write(world, **changes)).differences
    assert all(word in difference.what for word in words), difference.what
    assert difference.means == means


@pytest.mark.long
def test_a_maximum_length_above_all_texts_is_no_difference(world):
    def shorten(rows):
        for row in rows:
            row["text"] = " ".join(row["text"].split()[:3])

    for name in ("train", "queries"):
        rows = tiny.rows_of(world / f"{name}.csv")
        shorten(rows)
        tiny.write_rows(world / f"{name}.csv", rows)
    shutil.rmtree(world / "out")
    train_model.fn(str(write(world)))
    # Texts of two words and a punctuation mark: five tokens, and a few more.
    assert read_provenance(write(world, model={"max_length": 31})).differences == ()
    assert read_provenance(write(world, model={"max_length": 4})).differences[0].means == LENGTH


def test_a_study_without_training_is_compared_in_rows_and_loss(world):
    study = tiny.write_study(world, model=MODEL, loss={"label_smoothing": 0.2})
    change_rows(world, lambda rows: rows.pop())
    assert [difference.means for difference in read_provenance(study).differences] == [GONE, LOSS]


@pytest.mark.parametrize("named", [True, False])
def test_labels_in_another_order_are_refused(world, named):
    """Also if the model's configuration does not name the labels."""
    config = world / "out" / "trained" / "config.json"
    known = json.loads(config.read_text())
    if not named:
        del known["id2label"], known["label2id"]
        config.write_text(json.dumps(known))
    study = write(world, top={"labels": tiny.LABELS[::-1]})
    with pytest.raises(InputError, match="order"):
        read_provenance(study)


def damage_record(folder, how):
    record = folder / RECORD_FILE
    known = json.loads(record.read_text())
    if how == "damaged":
        record.write_bytes(record.read_bytes()[:100])
    elif how == "a list":
        record.write_text("[1]")
    elif how == "not UTF-8":
        record.write_bytes(b"\xff\xfe")
    elif how == "later":
        record.write_text(json.dumps({**known, "study": {**known["study"], "format": 99}}))
    elif how == "lacks":
        del known["study"]["loss"]
        record.write_text(json.dumps(known))
    elif how == "earlier":
        del known["study"]
        record.write_text(json.dumps(known))
    elif how == "rows gone":
        (folder / TRAINING_ROWS_FILE).unlink()
    elif how == "rows damaged":
        path = folder / TRAINING_ROWS_FILE
        path.write_bytes(path.read_bytes()[:-30])
    else:
        pl.read_parquet(folder / TRAINING_ROWS_FILE).head(3).write_parquet(
            folder / TRAINING_ROWS_FILE
        )


@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    ["damaged", "a list", "not UTF-8", "later", "lacks", "earlier", "rows gone", "rows damaged",
     "other rows"],
)  # fmt: skip
def test_an_unreadable_record_is_reported(world, how):
    damage_record(world / "out" / "trained", how)
    change_rows(world, lambda rows: rows.pop())
    known = read_provenance(write(world))
    assert any(difference.means.startswith(UNREAD) for difference in known.differences)
    assert known.trained is None


def test_weights_changed_after_training_are_reported(world):
    path = world / "out" / "trained" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    (difference,) = read_provenance(write(world)).differences
    assert difference.means == CHANGED


def test_a_model_without_a_record_has_no_provenance(world):
    assert read_provenance(tiny.write_study(world)) is None


def run_command(*args):
    done = CliRunner().invoke(cli.app, [str(arg) for arg in args], env={"COLUMNS": "200"})
    return done.exit_code, " ".join(done.output.replace("│", " ").split())


@pytest.mark.long
def test_differences_are_shown_wherever_an_audit_is_shown(world, monkeypatch):
    """In the dry run, doctor, table `runs`, the summary, and the rows."""
    monkeypatch.setattr(out, "_width", 200)
    change_rows(world, lambda rows: rows.append({**rows[0], "id": "new", "text": "a slow plot"}))
    study = write(world, candidates={"kind": "full"})
    for command in (("audit", "--dry-run", study), ("doctor", "--study", study)):
        code, text = run_command(*command)
        assert code == 0, text
        assert "1 training row added after the training (new)" in text
        assert "predicts the effect of adding them" in text
    store, run = tiny.run_directly(study)
    train = store.scan("train", run).collect()
    assert train.filter(~pl.col("trained"))["id"].to_list() == ["new"]
    facts = store.scan("runs", run).collect()["training"][0]
    assert json.loads(facts)["trained"] == tiny.TRAIN
    summary = read_summary(store, run, study)
    assert any(ADDED in alarm for alarm in summary.warnings)
    assert (
        "training record",
        "differs from the study in 1 points; trained on 60 of 61 rows",
    ) in summary.evidence
    code, text = run_command("show", "new", "--study", study)
    assert code == 0
    assert "not in the training set: minus the effect is the effect of adding it" in text


@pytest.mark.long
def test_a_second_run_with_other_rows_has_its_own_differences(world):
    study = write(world)
    store, first = tiny.run_directly(study)
    change_rows(world, lambda rows: rows.__setitem__(7, {**rows[7], "text": "an awful plot"}))
    store, second = tiny.run_directly(study)
    assert store.scan("train", first).collect()["trained"].all()
    odd = store.scan("train", second).filter(~pl.col("trained")).collect()["train"]
    assert odd.to_list() == [7]


@pytest.mark.long
def test_differences_of_several_checkpoints_are_reported_once(world):
    study = write(world, training={"checkpoints": [0.5]})
    train_model.fn(str(study))
    change_rows(world, lambda rows: rows.pop())
    study = write(
        world, top={"models": ["out/trained/checkpoint-0.5"]}, training={"checkpoints": [0.5]}
    )
    known = read_provenance(study)
    assert [difference.means for difference in known.differences] == [GONE]
    assert provenance.list_differences(None) == ()


@pytest.mark.long
def test_changes_since_a_finished_run_are_reported(world):
    """Training settings and record are not part of a run's fingerprint."""
    store, _ = tiny.run_directly(write(world))
    assert list_changes_since(store, write(world)) == []
    (line,) = list_changes_since(store, write(world, training={"epochs": 3}))
    assert line.startswith("Since this run was finished: [training] epochs is 3 but was 2")
    assert "Since this run" not in run_command("audit", write(world))[1]
    assert "epochs is 3" in run_command("audit", write(world, training={"epochs": 3}))[1]
    damage_record(world / MODEL["path"], "damaged")
    assert [UNREAD in line for line in list_changes_since(store, write(world))] == [True]


@pytest.mark.long
def test_recorded_differences_that_no_longer_hold_are_reported(world):
    store, _ = tiny.run_directly(write(world, training={"epochs": 3}))
    assert list_changes_since(store, write(world, training={"epochs": 3})) == []
    (line,) = list_changes_since(store, write(world))
    assert line.startswith("Recorded in the run, but no longer true: [training] epochs is 3")


def list_changes_since(store, study):
    return list(find_changes_since(store, plan_run(study)))
