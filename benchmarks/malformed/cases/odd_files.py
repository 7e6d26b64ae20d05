"""Rarer kinds of malformed files and arguments."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.malformed.case import DAMAGED, TAKEN, Case, leave
from benchmarks.malformed.spoils import append, config, edit, fifo, invert, truncate, write

DRY = ("audit", "study.toml", "--dry-run")
LONG = "x" * 300
SURROGATE = os.fsdecode(b"q\xff1")


def _empty_model(folder: Path) -> None:
    for path in (folder / "model").iterdir():
        path.unlink()


def _whole_numbers(folder: Path) -> None:
    path = folder / "model/model.safetensors"
    tensors = {name: (100 * t).to(torch.int8) for name, t in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})


def _looping_model(folder: Path) -> None:
    (folder / "model").rename(folder / "old")
    (folder / "model").symlink_to("model")


def _pipe_for_review(folder: Path) -> None:
    os.mkfifo(folder / "v.csv")


def _deep_json(folder: Path) -> None:
    (folder / "v.json").write_text("[" * 100_000, "utf-8")


def _pipe_for_shard(folder: Path) -> None:
    (path,) = (p for p in folder.glob("store/tables/scores/*/shard=00000/*") if p.is_file())
    fifo(str(path.relative_to(folder)))(folder)


def _two_forms(folder: Path) -> None:
    text = (folder / "train.csv").read_text("utf-8")
    changed = text.replace("\nr1,", "\n\u00e9,").replace("\nr2,", "\ne\u0301,")
    (folder / "train.csv").write_text(changed, "utf-8")


ODD_FILES: tuple[Case, ...] = (
    Case("models", "an empty folder", DRY, _empty_model, ("model", "save_pretrained"), ("hub",)),
    Case("models", "config.json that is a list", DRY, write("model/config.json", "[]"),
         ("config.json",), ("hub",)),
    Case("models", "a word as the number of layers", DRY, config(num_hidden_layers="two"),
         ("model",), ("hub",)),
    Case("models", "weights that are whole numbers", DRY, _whole_numbers, ("model",)),
    Case("models", "a symbolic link to itself", DRY, _looping_model, ("model", "link|no folder")),
    Case("models", "tokenizer.json cut", DRY, truncate("model/tokenizer.json"), ("tokenizer",),
         ("hub",)),
    Case("models", "the study's own folder as the model", DRY, edit('"model"', '"."'),
         ("model",), ("hub",)),
    Case("studies", "an empty file", DRY, write("study.toml", ""), ("study.toml", "name")),
    Case("studies", "a key twice", DRY, append("damping = 1\n[curvature]\n"), ("study.toml",)),
    Case("studies", "a number of 400 digits", DRY,
         edit("shard_size = 6", "shard_size = " + "9" * 400), ("shard_size|line",)),
    Case("studies", "a section that is a number", DRY,
         edit('[run]\nshard_size = 6', "run = 3\n[carry]"), ("study.toml",)),
    Case("studies", "a table with an absolute path that is not there", DRY,
         edit('"train.csv"', '"/nowhere/train.csv"'), ("/nowhere/train.csv",)),
    Case("studies", "a name with a slash", DRY, edit('"tiny"', '"a/b"'), ("name", "a/b")),
    Case("studies", "text columns that are a number", DRY, edit('text = "text"', "text = 3"),
         ("text",)),
    Case("reviews", "a pipe", ("review", "import", "v.csv"), _pipe_for_review, ("v.csv",),
         base="searched"),
    Case("reviews", "nested lists without end", ("review", "import", "v.json"), _deep_json,
         ("v.json",), base="searched"),
    Case("reviews", "a broken Parquet file", ("review", "import", "v.parquet"),
         write("v.parquet", b"PAR1" + bytes(40) + b"PAR1"), ("v.parquet",), base="searched"),
    Case("reviews", "NUL bytes", ("review", "import", "v.csv"), write("v.csv", b"\0" * 400),
         ("v.csv",), base="searched"),
    Case("reviews", "a JSON object", ("review", "import", "v.json"),
         write("v.json", json.dumps({"id": "r1"})), ("v.json", "list"), base="searched"),
    Case("reviews", "an escape sequence as the label", ("review", "import", "v.csv"),
         write("v.csv", "id,right_label\nr1,\x1b[2Jneg\n"), ("v.csv", "r1"), base="searched"),
    Case("options", "--only of a pipe", ("export", "train", "-o", "x.csv", "--only", "o.csv"),
         lambda folder: os.mkfifo(folder / "o.csv"), ("o.csv",), base="audited"),
    Case("options", "--only of a broken Parquet file",
         ("export", "train", "-o", "x.csv", "--only", "o.parquet"), write("o.parquet", b"PAR1"),
         ("o.parquet",), base="audited"),
    Case("options", "an empty id", ("top", ""), leave, ("id",), base="audited"),
    Case("options", "an id that is not UTF-8", ("top", SURROGATE), leave, ("id",),
         base="audited"),
    Case("options", "an empty name of a run", ("top", "q1", "--run", ""), leave, (),
         codes=(0, 2), base="audited"),
    Case("outputs", "a name of 300 characters", ("export", "train", "-o", f"{LONG}.csv"), leave,
         ("name",), base="audited"),
    Case("outputs", "a name with NUL", ("export", "train", "-o", "a\0b.csv"), leave, (),
         base="audited"),
    Case("outputs", "below a file", ("export", "train", "-o", "train.csv/x.csv"), leave,
         ("train.csv",), base="audited"),
    Case("outputs", "report below a file", ("report", "-o", "train.csv/x.html"), leave,
         ("train.csv",), base="audited"),
    Case("outputs", "review export of a random sample below a file",
         ("review", "export", "--random", "5", "-o", "train.csv/x.csv"), leave,
         ("train.csv",), base="searched"),
    Case("outputs", "correct into the model", ("correct", "study.toml", "--anchors",
         "queries.csv", "-o", "model"), leave, ("model", "new folder|exists"), base="audited"),
    Case("outputs", "correct into the store", ("correct", "study.toml", "--anchors",
         "queries.csv", "-o", "store/new"), leave, ("outside the store",), base="audited"),
    Case("options", "--anchors of a table without a label", ("correct", "study.toml", "--anchors",
         "a.csv", "-o", "new"), write("a.csv", "id,text\nq,good film\n"), ("a.csv", "label"),
         base="audited"),
    Case("options", "urgent of an unknown query", ("urgent", "study.toml", "q99"), leave,
         ("q99",), base="audited"),
    Case("options", "train without a recipe", ("train", "study.toml"), leave, ("[training]",)),
    Case("stores", "store.json changed", ("runs",), invert("store/store.json"), ("store.json",),
         base="audited"),
    Case("stores", "a run's record cut, gc", ("gc", "--dry-run"),
         truncate("store/runs/*/run.json"), ("run.json",), base="audited"),
    Case("stores", "a run's record cut, runs", ("runs",), truncate("store/runs/*/run.json"),
         ("run.json",), codes=(0, 2), base="audited"),
    Case("stores", "a pipe in a table's place, verify", ("verify",),
         _pipe_for_shard, ("shard=00000",), codes=DAMAGED,
         base="audited"),
    Case("stores", "a pipe in a table's place, top", ("top", "q1"), _pipe_for_shard, ("00000",),
         base="audited"),
    Case("tables", "a pipe that is compressed", DRY,
         lambda folder: (edit('"train.csv"', '"t.csv.gz"')(folder), os.mkfifo(folder / "t.csv.gz")),
         ("t.csv.gz",)),
    Case("tables", "the study as its own table", DRY, edit('"train.csv"', '"study.toml"'),
         ("study.toml",)),
    Case("tables", "a duplicate id that differs by its Unicode form", DRY,
         _two_forms, ("train.csv",), codes=(0, 2)),
    Case("options", "version", ("--version",), leave, (), codes=TAKEN),
)  # fmt: skip
