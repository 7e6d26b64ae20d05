"""The block of `fastif doctor --report`: what a bug report needs, and nothing that is private."""

import handmade_runs
import pytest
import tiny
import typer
from command_line import run

from flows.cli.common import report_errors

SECRETS = ("by-hand", "my private notes", "ticket text", "patient", "kgb", "train.csv")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTIF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_API_URL", "https://patient.example")
    tiny.write_study(
        tmp_path,
        top={"name": handmade_runs.STUDY, "labels": ["patient", "kgb"]},
        model={"path": "my private notes/model"},
        curvature={"damping": 0.1},
        candidates={"kind": "full"},
    )
    rows = [handmade_runs.Row("row-1", "ticket text")]
    handmade_runs.write_run(handmade_runs.open_store(tmp_path), "by-hand-1", rows, rows)
    return tmp_path


def test_the_block_has_versions_settings_and_runs_but_nothing_private(folder):
    code, text, _ = run("doctor", "--report")
    assert code == 0
    for fragment in (
        "torch 2",
        "cores",
        "memory",
        "PREFECT_API_URL",
        '"damping": 0.1',
        "1/1 shards",
    ):
        assert fragment in text
    assert '"kind": "full"' in text
    assert "last error: none recorded" in text
    for secret in (*SECRETS, str(folder)):
        assert secret not in text


def test_the_last_failure_is_named_by_its_class_and_place_alone(folder):
    def fail():
        with report_errors():
            raise AssertionError("patient kgb")

    with pytest.raises(typer.Exit):
        fail()
    text = run("doctor", "--report")[1]
    assert "builtins.AssertionError at flows/cli/common.py" in text
    assert "kgb" not in text


def test_a_faulty_study_is_described_by_its_places(folder):
    tiny.write_study(
        folder,
        top={"name": handmade_runs.STUDY, "labels": ["kgb", "patient"]},
        model={"path": "my private notes/model", "max_length": "patient"},
    )
    text = run("doctor", "--report")[1]
    assert "[model] max_length: a whole number" in text
    assert "patient" not in text.replace("patient.example", "")
