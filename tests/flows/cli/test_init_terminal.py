"""`fastif init` in a terminal: it asks for the tables, and for what they leave open."""

import os
import pty
import sys
import threading

import polars as pl
import pytest
import typer

from flows.cli import app as cli
from tasks.study.study import load_study

WORDS = [*"the film was a very long and quite boring story about people in a small town".split()]  # noqa: SIM905


@pytest.fixture
def terminal(monkeypatch):
    """Standard streams on a pseudo-terminal; returns a function that types lines and runs."""
    leader, follower = pty.openpty()
    stdin = os.fdopen(os.dup(follower), "r")
    stdout = os.fdopen(follower, "w")
    printed = []

    def collect():
        while not stdout.closed:
            try:
                printed.append(os.read(leader, 4096))
            except OSError:
                return

    threading.Thread(target=collect, daemon=True).start()

    def run(lines, *arguments):
        monkeypatch.setattr(sys, "stdin", stdin)  # here, since pytest sets its own before a test
        monkeypatch.setattr(sys, "stdout", stdout)
        os.write(leader, "".join(f"{line}\n" for line in lines).encode())
        code = typer.main.get_command(cli.app).main(list(arguments), standalone_mode=False)
        stdout.flush()
        return code, b"".join(printed).decode("utf-8", "replace")

    yield run
    stdin.close()
    stdout.close()
    os.close(leader)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A table with two columns that could both be the text."""
    rows = [
        {"comment": " ".join(WORDS[i % 7 :]), "message": " ".join(WORDS[: 7 + i % 8]), "n": i}
        for i in range(40)
    ]
    table = pl.DataFrame(rows).with_columns(
        pl.format("{} {}", "comment", "n").alias("comment"),
        pl.format("{} {}", "message", "n").alias("message"),
        verdict=pl.when(pl.col("n") % 2 == 0).then(pl.lit("good")).otherwise(pl.lit("bad")),
    )
    table.drop("n").write_csv(tmp_path / "my rows.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", [1, 2])
def test_plausible_columns_are_numbered_and_chosen(folder, terminal, number):
    lines = ["", "nothing.csv", "my rows.csv", "", "9", number]
    terminal(lines, "init", "--no-forecast")
    study = load_study(folder / "study.toml")
    assert not study.has_audit
    options = ["comment", "message"]
    chosen = study.train.text[0]
    options.remove(chosen)
    assert study.train.label == "verdict"
    assert "<- check: or" not in (folder / "study.toml").read_text("utf-8").split("[mislabels]")[0]
    terminal([1 if number == 2 else 2], "init", "my rows.csv", "-o", "b.toml", "--no-forecast")
    assert load_study(folder / "b.toml").train.text == (options[0],)


def test_nothing_is_asked_with_yes(folder, terminal):
    terminal([], "init", "my rows.csv", "--yes", "--no-forecast")
    text = (folder / "study.toml").read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("text = "))
    assert '<- check: or "' in line
