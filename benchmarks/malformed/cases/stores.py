"""Damaged and foreign stores."""

from pathlib import Path

from benchmarks.malformed.case import DAMAGED, Case, Spoil
from benchmarks.malformed.folders import read_rows
from benchmarks.malformed.spoils import (
    chain,
    invert,
    list_files,
    remove,
    truncate,
    write,
)

FIRST_SHARD = "store/tables/scores/*/shard=00000/*"
NAMED = ("fastif verify --repair", "fastif audit")
READERS: tuple[tuple[str, ...], ...] = (
    ("top", "q1"),
    ("show", "r1"),
    ("report",),
    ("export", "scores", "-o", "out.csv"),
)
"""Commands that read the tables of a run."""


def _annotate(folder: Path) -> None:
    """Import two verdicts, in the folder of a search."""
    from flows.cli import app as cli

    write_verdicts(folder, [("r1", "neg", "ann"), ("r2", "pos", "ann")])
    import os

    from typer.testing import CliRunner

    here = Path.cwd()
    os.chdir(folder)
    try:
        result = CliRunner().invoke(cli.app, ["review", "import", "verdicts.csv"])
    finally:
        os.chdir(here)
    assert result.exit_code == 0, result.output


def write_verdicts(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    """Write a review file with ids, right labels and reviewers."""
    texts = {row["id"]: row["text"] for row in read_rows(folder / "train.csv")}
    lines = ["id,text,right_label,reviewer"]
    lines += [f"{name},{texts.get(name, '')},{label},{who}" for name, label, who in rows]
    (folder / "verdicts.csv").write_text("\n".join(lines) + "\n", "utf-8")


def _readers(name: str, spoil: Spoil, *words: str) -> tuple[Case, ...]:
    return tuple(
        Case("stores", f"{name}, {command[0]}", command, spoil, (*words, *NAMED),
             ("ComputeError", "IndexError"), base="audited")
        for command in READERS
    )  # fmt: skip


def _foreign(folder: Path) -> None:
    (folder / "store").mkdir()
    (folder / "store/thesis.tex").write_text("years of work", "utf-8")


def _other_study(folder: Path) -> None:
    path = folder / "study.toml"
    path.write_text(path.read_text("utf-8").replace('name = "tiny"', 'name = "else"'), "utf-8")


def _newer_format(folder: Path) -> None:
    path = list_files(folder, "store/store.json")[0]
    path.write_text(path.read_text("utf-8").replace('"format": 1', '"format": 99'), "utf-8")


STORES: tuple[Case, ...] = (
    *_readers("a shard's file removed", remove(FIRST_SHARD), "00000"),
    *_readers("a shard's bytes changed", invert(FIRST_SHARD), "shard=00000"),
    *_readers("the training table removed", remove("store/tables/train/*/*/*"), "train"),
    Case("stores", "a shard's file removed, runs", ("runs",), remove(FIRST_SHARD), ("damaged",),
         codes=(0,), base="audited"),
    Case("stores", "a shard's file removed, verify", ("verify",), remove(FIRST_SHARD),
         ("shard=00000", "verify --repair"), codes=DAMAGED, base="audited"),
    Case("stores", "a shard's bytes changed, verify", ("verify",), invert(FIRST_SHARD),
         ("shard=00000", "verify --repair"), codes=DAMAGED, base="audited"),
    Case("stores", "a shard's bytes changed, audit", ("audit", "study.toml"), invert(FIRST_SHARD),
         NAMED, ("ComputeError",), base="audited"),
    Case("stores", "a shard's file removed, audit", ("audit", "study.toml"), remove(FIRST_SHARD),
         ("accuracy",), codes=(0,), base="audited", changes=True),
    Case("stores", "a manifest cut", ("top", "q1"), truncate("store/runs/*/manifest/00000.json"),
         ("00000", *NAMED), base="audited"),
    Case("stores", "a run's record cut", ("top", "q1"), truncate("store/runs/*/run.json"),
         ("run.json",), base="audited"),
    Case("stores", "a run's record cut, verify", ("verify",), truncate("store/runs/*/run.json"),
         ("run.json", "1 problem"), ("1 problems",), codes=DAMAGED, base="audited"),
    Case("stores", "a factor of the solver changed, verify", ("verify",),
         invert("store/parts/*/*/*.safetensors"), ("parts", "verify --repair"), codes=DAMAGED,
         base="audited"),
    Case("stores", "verdicts changed, verify", ("verify",),
         chain(_annotate, invert("store/parts/verdicts/*/*.parquet")),
         ("verdicts", "backup"), codes=DAMAGED, base="searched"),
    Case("stores", "verdicts changed, mislabels", ("mislabels", "study.toml"),
         chain(_annotate, invert("store/parts/verdicts/*/*.parquet")),
         ("verdicts", "verify"), ("ComputeError",), base="searched"),
    Case("stores", "verdicts changed, conflicts", ("review", "conflicts"),
         chain(_annotate, invert("store/parts/verdicts/*/*.parquet")),
         ("verdicts", "verify"), ("ComputeError",), base="searched"),
    Case("stores", "a search for wrong labels changed, verify", ("verify",),
         invert("store/parts/mislabels/*/*.parquet"), ("mislabels", "verify --repair"),
         codes=DAMAGED, base="searched"),
    Case("stores", "a search for wrong labels changed, report", ("report",),
         invert("store/parts/mislabels/*/*.parquet"), ("mislabels", "verify --repair"),
         ("ComputeError",), base="searched"),
    Case("stores", "a search for wrong labels changed, export",
         ("export", "mislabels", "-o", "out.csv"), invert("store/parts/mislabels/*/*.parquet"),
         ("mislabels", "verify --repair"), ("ComputeError",), base="searched"),
    Case("stores", "a search for wrong labels changed, review export",
         ("review", "export", "-o", "out.csv"), invert("store/parts/mislabels/*/*.parquet"),
         ("mislabels", "verify --repair"), ("ComputeError",), base="searched"),
    Case("stores", "facts of a search cut, mislabels", ("mislabels", "study.toml"),
         truncate("store/parts/mislabels/*/facts.json"), ("facts.json|mislabels", "verify"),
         base="searched"),
    Case("stores", "the file of a search removed, report", ("report",),
         remove("store/parts/mislabels/*/*.parquet"), ("mislabels", "verify --repair"),
         base="searched"),
    Case("stores", "none yet", ("top", "q1"), lambda folder: None, ("fastif audit",)),
    Case("stores", "none yet, report", ("report",), lambda folder: None, ("fastif audit",)),
    Case("stores", "another study's", ("top", "q1"), _other_study, ("tiny", "else"),
         base="audited"),
    Case("stores", "a folder with other files", ("audit", "study.toml"), _foreign,
         ("store", "other files")),
    Case("stores", "a file in its place", ("audit", "study.toml"), write("store", "a file"),
         ("store", "a file")),
)  # fmt: skip
