"""`fastif init MODEL TRAIN QUERIES`, from files with spaces in their names to a forecast."""

import shutil

import polars as pl
import pytest
from command_line import contents, run, run_refused

from tasks.study.study import load_study


@pytest.fixture
def own(world):
    """The tiny tables and model as somebody else would have named them."""
    for old, new in (("train", "my räws"), ("queries", "asked 'today'")):
        table = pl.read_csv(world / f"{old}.csv", infer_schema=False)
        names = {"id": "Ticket Nr.", "text": "Customer Message", "label": "Verdict"}
        table.drop("second").rename(names).write_csv(world / f"{new}.csv")
        (world / f"{old}.csv").unlink()
    shutil.move(world / "model", world / "own model")
    (world / "study.toml").unlink()
    return world


def test_study_is_inferred_validated_and_forecast(own, monkeypatch):
    monkeypatch.chdir(own)
    arguments = ("init", "own model", "my räws.csv", "asked 'today'.csv")
    code, printed, message = run(*arguments)
    assert code == 0, message
    study = load_study(own / "study.toml")
    assert study.labels == ("neg", "pos")
    assert study.model.path == "own model"
    for source in (study.train, study.queries):
        assert (source.text, source.label) == (("Customer Message",), "Verdict")
        assert (source.id, source.groups) == ("Ticket Nr.", ("kind",))
    assert "no key is left open" in printed
    assert "peak memory" in printed
    assert printed.rstrip().endswith("Next: fastif audit")
    before = contents(own)
    code, _, message = run(*arguments)
    assert code == 2
    assert "--out study-2.toml" in message
    assert contents(own) == before, "an existing file is never overwritten"


def test_every_key_that_is_written_has_a_comment(own, monkeypatch):
    monkeypatch.chdir(own)
    run("init", "asked 'today'.csv", "own model", "my räws.csv", "--no-forecast", "--out", "x.toml")
    text = (own / "x.toml").read_text("utf-8")
    lines = text.splitlines()
    keys = [i for i, line in enumerate(lines) if " = " in line.split("#")[0]]
    assert len(keys) > 10
    for i in keys:
        comment = lines[i] if "#" in lines[i] else lines[i + 1]
        assert len(comment.split("#", 1)[1]) > 5, lines[i]


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ((), "fastif init MODEL TRAIN QUERIES"),
        (("own model",), "TRAIN QUERIES"),
        (("nothing.csv",), '"nothing.csv"'),
        (("my räw.csv",), 'id you mean "my räws.csv"?'),
        (("base", "my räws.csv", "asked 'today'.csv"), "BertModel"),
        (("own model", "base", "my räws.csv"), "2 models"),
    ],
    ids=["none", "model alone", "missing", "misspelt", "no head", "two models"],
)
def test_unsuitable_arguments_are_refused(own, monkeypatch, arguments, fragment):
    monkeypatch.chdir(own)
    assert fragment in run_refused(own, "init", *arguments)


def test_a_template_is_not_written_into_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("shards/part-0.csv", "shards/part-1.csv", "images/cat/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a,b\n")
    assert "shards of a table" in run_refused(tmp_path, "init", "shards")
    assert "image (1 values)" in run_refused(tmp_path, "init", "images")


def test_templates_remain_and_new_folders_are_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("init", "new/")[0] == 0
    assert (tmp_path / "new" / "study.toml").is_file()
    assert run("init", "--template", "--out", "full.toml")[0] == 0
    assert "[candidates]" in (tmp_path / "full.toml").read_text("utf-8")
    assert run("init", "--labels")[0] == 0
    message = run_refused(tmp_path, "init", "--template")
    assert "--out study-2.toml" in message
