"""`fastif reproduce`: early refusals, resumption from cached steps, and results."""

import json
import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fastif import InputError
from flows.cli.app import app
from tasks.experiments.registry import ALIASES, EXPERIMENTS
from tasks.experiments.result import (
    Claim,
    ExperimentResult,
    render_result_markdown,
    write_result,
)
from tasks.experiments.run import check_experiment, reproduce_experiment
from tasks.experiments.workspace import Workspace


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_all_experiments_are_listed_with_what_they_need():
    listed = run("reproduce").output
    for name, experiment in EXPERIMENTS.items():
        assert name in listed
        assert all(needed in listed for needed in experiment.datasets)
    assert all(name in listed for name in ALIASES)


@pytest.mark.parametrize(("name", "of"), ALIASES.items())
def test_an_experiment_has_the_name_of_its_publication_as_alias(tmp_path, name, of):
    done = run("reproduce", name, "--data", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert f"the public data set {EXPERIMENTS[of].datasets[0]}" in " ".join(done.output.split())


def test_the_line_with_two_outliers_reproduces(tmp_path):
    folder = Path(reproduce_experiment.fn("outliers", "small", str(tmp_path), None))
    result = json.loads((folder / "result.json").read_text())
    assert [claim["holds"] for claim in result["claims"]] == [True, True, True]
    page = (folder / "result.md").read_text()
    assert "![outliers](outliers.svg)" in page
    assert "20 of 20 signs" in page
    assert (folder / "outliers.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["outlier"], 'did you mean "outliers"'), (["digits", "--data", "/nowhere"], "mnist")],
)
def test_a_wrong_name_or_missing_data_is_refused_before_the_start(tmp_path, arguments, words):
    done = run("reproduce", *arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.output
    assert not (tmp_path / "out").exists()


def test_a_missing_data_folder_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.delenv("FASTIF_DATA", raising=False)
    with pytest.raises(InputError, match="FASTIF_DATA"):
        check_experiment("digits", "small", tmp_path, None)


def test_steps_are_cached_once_and_completely(tmp_path):
    place = Workspace(tmp_path, "small", None)
    made = []

    def make():
        made.append(1)
        return {"a": torch.arange(3)}

    assert torch.equal(place.cache_tensors("x", make)["a"], torch.arange(3))
    assert torch.equal(place.cache_tensors("x", make)["a"], torch.arange(3))
    assert len(made) == 1

    def fail():
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        place.cache_json("y", fail)
    assert place.cache_json("y", lambda: {"b": 2}) == {"b": 2}
    assert sorted(p.name for p in (tmp_path / "steps").iterdir()) == ["x.safetensors", "y.json"]


def test_cached_steps_of_another_version_are_refused(tmp_path):
    reproduce_experiment.fn("outliers", "small", str(tmp_path), None)
    (tmp_path / "outliers-small" / "steps" / "mathematics").write_text("1")
    with pytest.raises(InputError, match="version"):
        reproduce_experiment.fn("outliers", "small", str(tmp_path), None)


def test_a_claim_that_is_not_reproduced_is_marked(tmp_path):
    outcome = ExperimentResult(
        [Claim("It works.", "1", "0.2", False), Claim("How fast?", "87 s", "1 s", None)],
        {"A table": [{"way": "a", "value": 0.123456}, {"way": "b", "value": None}]},
    )
    head = dict.fromkeys(("name", "title", "source", "stands_in", "scale", "machine"), "x")
    write_result(tmp_path, {**head, "seconds": 3.0}, outcome)
    page = render_result_markdown(json.loads((tmp_path / "result.json").read_text()), "")
    assert "| It works. | 1 | 0.2 | **not reproduced** |" in page
    assert "| How fast? | 87 s | 1 s |  |" in page
    assert "| a | 0.123 |" in page


@pytest.mark.flow
@pytest.mark.long
def test_the_flow_writes_an_artifact(tmp_path, prefect):
    from flows.reproduce import reproduce

    folder = reproduce("outliers", "small", str(tmp_path))
    assert (Path(folder) / "result.json").is_file()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["digits", "hinge", "labels", "response"])
def test_the_experiments_on_digits_reproduce(name, tmp_path):
    data = os.environ.get("FASTIF_DATA")
    if not data:
        pytest.skip("needs FASTIF_DATA, the folder with mnist/")
    folder = Path(reproduce_experiment.fn(name, "small", str(tmp_path), data))
    result = json.loads((folder / "result.json").read_text())
    compared = [claim["holds"] for claim in result["claims"] if claim["holds"] is not None]
    assert compared, "no claim was compared with the published one"
    assert all(compared), result["claims"]
