"""`fastif.audit` of objects: the bits of an audit of the study, a result that displays itself."""

import os
import subprocess
import sys

import datasets
import pandas as pd
import polars as pl
import pytest
import tiny
import torch
from command_line import contents
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import fastif
from storage import StoreError
from tasks.notebook.audit import HEAD
from tasks.study.errors import StudyError
from tasks.study.study import load_study

SETTINGS = {
    "model": {"max_length": 16},
    "solver": None,
    "candidates": {"kind": "auto"},
    "run": {"shard_size": None, "batch_size": None},
}
"""Study of the tiny folder with what a new study has by default."""


@pytest.fixture(scope="module")
def session(made, tmp_path_factory):
    """An audit of objects, and a copy of the folder that they were read from."""
    world = tiny.copy(made, tmp_path_factory.mktemp("notebook") / "world")
    rows = tiny.rows_of(world / "queries.csv")
    for row in rows:
        row["id"] = row["id"].replace("[red]query[/]", "<b>query</b>")
    tiny.write_rows(world / "queries.csv", rows)
    train = pd.read_csv(world / "train.csv").drop(columns="second")
    queries = pd.read_csv(world / "queries.csv").drop(columns="second")
    queries["label"] = queries["label"].map(tiny.LABELS.index)
    queries = datasets.Dataset.from_pandas(queries)
    queries = queries.cast_column("label", datasets.ClassLabel(names=tiny.LABELS))
    model = AutoModelForSequenceClassification.from_pretrained(world / "model").train()
    model.classifier.weight.requires_grad_(False)
    model.classifier.bias.grad = torch.ones(2)
    before = describe(model)
    tokenizer = AutoTokenizer.from_pretrained(world / "model")
    folder = world / "session"
    arguments = (model, tokenizer, train, queries)
    result = fastif.audit(*arguments, folder=folder, damping=0.01)
    return world, result, arguments, (before, describe(model))


def describe(model):
    """Everything of a model that an audit must leave as it was."""
    tensors = {
        name: (tensor.clone(), tensor.dtype, tensor.device, tensor.requires_grad, tensor.grad)
        for name, tensor in model.named_parameters()
    }
    return model.training, model.config.to_dict(), tensors


def test_the_scores_have_the_bits_of_an_audit_of_the_study(session):
    world, result, *_ = session
    # Sizes change the last bits; those of the session were chosen within its memory.
    chosen = {
        "memory_gb": load_study(result.study).run.memory_gb,
        "shard_size": result.store.read_record(result.run).shard_size,
    }
    run = {**SETTINGS["run"], **chosen}
    study = tiny.write_study(world, store={"path": "other"}, **{**SETTINGS, "run": run})
    store, run = tiny.run_directly(study)
    assert_same_scores((result.store, result.run), (store, run))


def assert_same_scores(first, second):
    frames = [
        store.scan("scores", run).sort("query", "rank").collect() for store, run in (first, second)
    ]
    assert frames[0].height > 0
    for name in ("query", "train", "removal_effect"):
        bits = [frame[name].to_numpy().tobytes() for frame in frames]
        assert bits[0] == bits[1], name


def test_the_model_is_not_changed(session):
    (training, config, tensors), (training_after, config_after, tensors_after) = session[3]
    assert training
    assert training_after
    assert config == config_after
    assert tensors.keys() == tensors_after.keys()
    for name, (values, *others) in tensors.items():
        values_after, *others_after = tensors_after[name]
        assert torch.equal(values, values_after)
        assert others[:3] == others_after[:3]
    assert torch.equal(tensors_after["classifier.bias"][4], torch.ones(2))


def test_the_same_objects_are_not_computed_again(session):
    _, result, arguments, _ = session
    before = contents(result.store.layout.root)
    again = fastif.audit(*arguments, folder=result.study.parent, damping=0.01)
    assert again.run == result.run
    assert repr(fastif.audit(result.study)) == repr(result)
    assert contents(result.store.layout.root) == before
    assert load_study(result.study).curvature.damping == 0.01


def test_the_result_is_read_as_data_frames(session):
    result = session[1]
    scores = result.scores.collect()
    query = scores["query_id"][0]
    own = scores.filter(pl.col("query_id") == query).sort("removal_effect")
    top = result.top(query, 2)
    assert top["train_id"].to_list() == [*own["train_id"][:2], *own["train_id"][-2:]]
    assert (top["removal_effect"][:2] < 0).all()
    assert "train_text_pair" not in top.columns
    row = own["train_id"][0]
    effects = scores.filter(pl.col("train_id") == row)["removal_effect"].abs()
    assert result.show(row, 1)["removal_effect"].abs().to_list() == [effects.max()]
    harm = scores.filter(pl.col("removal_effect") < 0).group_by("train_id")
    worst = harm.agg(pl.col("removal_effect").cast(pl.Float64).sum()).sort("removal_effect")
    harmful = result.harmful(3, wrong_only=False)
    assert harmful["train_id"].to_list() == worst["train_id"][:3].to_list()
    assert harmful["harmful_effect"].to_list() == pytest.approx(worst["removal_effect"][:3])
    with pytest.raises(StoreError, match="Did you mean"):
        result.top("query-00")


def test_the_display_is_escaped_and_has_the_worst_query_and_the_warnings(session):
    result = session[1]
    page, text = result._repr_html_(), repr(result)
    worst = result.summary.worst[0].query["id"]
    assert "<b>query</b>" not in page
    assert "&lt;b&gt;query&lt;/b&gt;" in page
    assert f"{worst}" in text
    assert "accuracy" in page
    assert result.warnings
    assert all(warning[:40] in page for warning in result.warnings)
    assert "\x1b" not in text


def test_the_report_is_written_and_no_other_file_replaced(session, tmp_path):
    result = session[1]
    page = result.report(tmp_path / "page.html")
    assert page.read_text("utf-8").startswith("<!")
    other = tmp_path / "other.html"
    other.write_text("mine")
    with pytest.raises(fastif.InputError):
        result.report(other)
    assert other.read_text() == "mine"


def test_a_folder_with_a_study_of_the_user_is_refused(session, tmp_path):
    *_, arguments, _ = session
    (tmp_path / "study.toml").write_text('name = "mine"\n')
    with pytest.raises(fastif.InputError, match="a new folder, or that of an earlier call"):
        fastif.audit(*arguments, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]
    assert session[1].study.read_text("utf-8").startswith(HEAD)


@pytest.mark.long
def test_the_folder_of_a_call_that_failed_is_used_by_the_next(session, tmp_path):
    _, result, arguments, _ = session
    for _ in range(2):
        with pytest.raises(StudyError, match="text="):
            fastif.audit(*arguments, folder=tmp_path / "session", text="txet")
    other = fastif.audit(*arguments, folder=tmp_path / "session", damping=0.01)
    assert_same_scores((result.store, result.run), (other.store, other.run))


def test_messages_name_the_arguments_and_not_the_options_of_the_command(session):
    *_, (model, tokenizer, train, queries), _ = session
    with pytest.raises(StudyError) as error:
        fastif.audit(model, tokenizer, train, queries, text="txet")
    assert [problem.where for problem in error.value.problems] == ["text="]
    with pytest.raises(fastif.InputError, match="labels=: expected 2 labels"):
        fastif.audit(model, tokenizer, train, queries, labels=["a", "b"])
    with pytest.raises(fastif.InputError, match="got a file"):
        fastif.audit(model, tokenizer, train, queries, folder=session[1].study)


def test_a_study_file_takes_no_other_argument(session):
    with pytest.raises(fastif.InputError, match="a study file alone"):
        fastif.audit(session[1].study, damping=0.1)


@pytest.mark.long
def test_defaults_of_the_session_neither_change_the_scores_nor_are_changed(session, tmp_path):
    _, result, arguments, _ = session
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode():
            other = fastif.audit(*arguments, folder=tmp_path / "session", damping=0.01)
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device() == torch.device("meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert_same_scores((result.store, result.run), (other.store, other.run))


def test_no_usage_data_are_sent_by_an_import_of_prefect():
    code = "import os, tasks; print(os.environ['DO_NOT_TRACK'])"
    env = {name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "1\n"


@pytest.mark.long
@pytest.mark.flow
def test_the_command_computes_the_same_bits(session):
    result = session[1]
    study = result.study.with_name("command.toml")
    text = result.study.read_text("utf-8")
    study.write_text(text.replace('path = "store"', 'path = "by-command"'))
    command = [sys.executable, "-m", "flows.cli", "audit", str(study)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by_command = fastif.audit(study)
    assert by_command.store.layout.root.name == "by-command"
    assert_same_scores((result.store, result.run), (by_command.store, by_command.run))
