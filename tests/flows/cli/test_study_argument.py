"""The study of a command: argument, option, variable and default; and the next step's line."""

import shlex
from pathlib import Path

import pytest
import typer
from command_line import invoke, run

from flows.cli.app import app
from flows.cli.common import out
from flows.cli.next_step import print_next

WITHOUT_STUDY = {"annotators", "spans", "init", "down", "reproduce"}


def list_commands() -> dict[str, list[str]]:
    """The commands that take a study, with the arguments that each needs before it."""
    commands: dict[str, list[str]] = {}

    def walk(command, path):
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, [*path, name])
        if path and not hasattr(command, "commands") and not {path[0], path[-1]} & WITHOUT_STUDY:
            needed = [p for p in command.params if p.required]
            arguments = [p.name for p in needed if p.param_type_name == "argument"]
            options = [word for p in needed for word in (p.opts[0], "x") if p.name not in arguments]
            commands[" ".join(path)] = [*arguments, *options]

    walk(typer.main.get_command(app), [])
    return commands


@pytest.mark.parametrize(("command", "arguments"), list_commands().items())
def test_every_command_takes_the_study_in_the_same_ways(command, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*command.split(), *arguments]
    expected = "expected: a study file"
    for given in ([], ["here.toml"], ["--study", "here.toml"], ["-s", "here.toml"]):
        if command == "doctor" and not given:
            continue  # checks the installation alone
        done = invoke(*words, *given)
        message = done.output
        assert done.exit_code == 2
        assert expected in message
        name = "here.toml" if given else "study.toml"
        assert f"{name}: 1 problem" in message
    monkeypatch.setenv("FASTIF_STUDY", "variable.toml")
    assert "variable.toml: 1 problem" in invoke(*words).output
    assert "here.toml: 1 problem" in invoke(*words, "here.toml").output
    message = run(*words, "here.toml", "--study", "there.toml")[2]
    assert "here.toml and there.toml" in message
    message = invoke(*words, "here.toml", "--study", tmp_path / "here.toml").output
    assert "here.toml: 1 problem" in message


@pytest.mark.parametrize("words", [["a.toml", "tiny-1"], ["tiny-1", "a.toml"], ["a.toml"]])
def test_report_tells_a_run_from_a_study(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "a.toml: 1 problem" in run("report", *words)[2]


@pytest.mark.parametrize(
    ("words", "default", "study"),
    [
        (["nightly"], "", "nightly"),
        (["nightly"], "study.toml", "study.toml"),
        (["nightly", "--study", "a.toml"], "", "a.toml"),
        (["nightly", "a.toml"], "", "a.toml"),
        (["nightly", "tiny-1"], "study.toml", "nightly"),
    ],
)
def test_a_file_with_the_name_of_a_run_is_no_study_if_another_one_is_named(
    words, default, study, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in filter(None, ("nightly", default)):
        Path(name).write_text("name = 1\n")
    assert f"Refused. {study}: " in run("report", *words)[2]


def test_the_next_command_is_quoted_and_never_wrapped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(out, "_width", 40)
    study = Path("my studies") / f"{'long ' * 20}.toml"
    print_next("top", "-k", "3", values=["-17; rm :cat: [b]x"], study=study)
    print_next("audit", study=tmp_path / "study.toml")
    print_next("audit", study="-odd.toml", before="Fill in the file")
    lines = capsys.readouterr().out.splitlines()
    words = ["fastif", "top", "-k", "3", "--", "-17; rm :cat: [b]x", str(study)]
    assert shlex.split(lines[0].removeprefix("Next: ")) == words
    assert lines[1:] == [
        "Next: fastif audit",
        "Next: Fill in the file, then: fastif audit -- -odd.toml",
    ]
