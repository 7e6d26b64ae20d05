"""Invalid inputs of an audit, each with fragments of its error message."""

from collections.abc import Callable
from pathlib import Path

import tiny
import torch
from safetensors.torch import load_file, save_file

from storage import Store

# Each takes the folder, spoils it, and gives what else to type after the study.
Spoil = Callable[[Path], list[str] | None]


def study(**changes: dict | None) -> Spoil:
    def spoil(world: Path) -> None:
        tiny.write_study(world, **changes)

    return spoil


def rows(name: str, change: Callable[[list[dict[str, str]]], object]) -> Spoil:
    def spoil(world: Path) -> None:
        records = tiny.rows_of(world / f"{name}.csv")
        change(records)
        tiny.write_rows(world / f"{name}.csv", records)

    return spoil


def set_cell(row: int, column: str, value: str) -> Callable[[list[dict[str, str]]], object]:
    return lambda records: records[row - 1].__setitem__(column, value)


def no_column(world: Path) -> None:
    path = world / "train.csv"
    path.write_text(path.read_text().replace("id,text,", "id,sentence,", 1))


def empty(world: Path) -> None:
    (world / "queries.csv").write_text("id,text,second,label,kind\n")


def no_table(world: Path) -> None:
    (world / "train.csv").unlink()


def no_study(world: Path) -> None:
    (world / "study.toml").rename(world / "studie.toml")


def no_model(world: Path) -> None:
    (world / "model").rename(world / "modle")


def three_labels(world: Path) -> None:
    tiny.write_study(world, top={"labels": ["neg", "pos", "other"]})


def broken_weights(world: Path) -> None:
    path = world / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["bert.encoder.layer.1.output.dense.bias"][3] = torch.nan
    save_file(tensors, path, {"format": "pt"})


def cut_weights(world: Path) -> None:
    path = world / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_tokenizer(world: Path) -> None:
    tiny.write_tokenizer(world / "model", ["ein", "anderes"])


def other_store(world: Path) -> None:
    Store.open(world / "store", "another")


def foreign_folder(world: Path) -> None:
    (world / "store").mkdir()
    (world / "store" / "thesis.tex").write_text("years of work")


def file_for_store(world: Path) -> None:
    (world / "store").write_text("a file")


def file_above_store(world: Path) -> None:
    (world / "out").write_text("a file")
    tiny.write_study(world, store={"path": "out/store"})


def half_toml(world: Path) -> None:
    (world / "study.toml").write_text('name = "tiny\n')


def two_faiss(world: Path) -> None:
    for name in ("faiss_cpu", "faiss_gpu"):
        folder = world / "site" / f"{name}-1.13.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.13.0\n")


BAD: dict[str, tuple[Spoil, list[str]]] = {
    "missing study": (
        no_study,
        ["study.toml", "no such file", "the only study there, studie.toml"],
    ),
    "broken toml": (half_toml, ["study.toml", "line 1"]),
    "missing table": (no_table, ["train.csv", "[train] table", "no such file"]),
    "empty table": (empty, ["queries.csv", "1 or more rows", "an empty table"]),
    "missing column": (no_column, ["train.csv", '"text"', "sentence", "[train] text"]),
    "null text": (rows("train", set_cell(7, "text", "")), ["train.csv", "column text", "row 7"]),
    "unknown label": (
        rows("queries", set_cell(2, "label", "Pos")),
        ["queries.csv", "column label", 'row 2: "Pos"', 'did you mean "pos"?'],
    ),
    "labels that are not the head's": (three_labels, ["model", "3 output units", "got 2"]),
    "labels in another order": (
        study(top={"labels": ["pos", "neg"]}),
        ["model", "['neg', 'pos']", "['pos', 'neg']", "order"],
    ),
    "duplicate ids": (
        rows("train", set_cell(9, "id", "train-0")),
        ["train.csv", "unique ids", 'row 9: "train-0"'],
    ),
    "k of 0": (
        study(candidates={"kind": "knn", "k": 0}),
        ["study.toml", "[candidates] k", ">= 1", "0"],
    ),
    "k above n": (
        study(candidates={"kind": "knn", "k": 61}),
        ["study.toml", "[candidates] k", "1 to 60", "61"],
    ),
    "no damping, dual": (study(curvature={"damping": 0}), ["[curvature] damping", "> 0", "dual"]),
    "no damping, cg": (
        study(curvature={"damping": 0.0}, solver={"kind": "cg"}),
        ["[curvature] damping", "> 0", "cg"],
    ),
    "no damping, lissa": (
        study(curvature={"damping": 0.0}, solver={"kind": "lissa"}),
        ["[curvature] damping", "> 0", "lissa"],
    ),
    "no damping, sketches": (
        study(
            curvature={"damping": 0.0},
            solver={"kind": "direct"},
            candidates={"kind": "sketch", "k": 5},
        ),
        ["[curvature] damping", "> 0", "sketch"],
    ),
    "negative damping": (study(curvature={"damping": -0.1}), ["[curvature] damping", "-0.1"]),
    "no parameter matched": (
        study(parameters={"attributed": ["layer\\.7\\."]}),
        ["attributed", "layer"],
    ),
    "too many layers": (study(parameters={"attributed": "last:9"}), ["last:9", "1 to 3"]),
    "NaN weights": (broken_weights, ["model", "bert.encoder.layer.1.output.dense.bias", "finite"]),
    "cut weights": (cut_weights, ["model"]),
    "wrong tokenizer": (other_tokenizer, ["tokenizer", "vocabulary of the model", "7"]),
    "max_length above the model's": (study(model={"max_length": 33}), ["max_length", "32", "33"]),
    "missing model": (no_model, ["model", "no folder", "hub:"]),
    "another study's store": (other_store, ["store.json", "'tiny'", "'another'"]),
    "a folder that is no store": (foreign_folder, ["store", "other files"]),
    "a file in the store's place": (file_for_store, ["store", "a file"]),
    "a file above the store": (file_above_store, ["store", "a file at"]),
    "unknown solver": (
        study(solver={"kind": "lisa"}),
        ["[solver] kind", '"lisa"', 'did you mean "lissa"?'],
    ),
    "unknown key": (study(solver={"kind": "cg", "depth": 3}), ["[solver] depth", "unknown key"]),
    "hub name, no network": (
        study(model={"path": "hub:nobody/no-such-model"}),
        ["hub:nobody/no-such-model", "network"],
    ),
    "index that cannot be built": (
        study(candidates={"kind": "knn", "k": 3, "factory": "Flatt"}),
        ["[candidates] factory", "Flatt"],
    ),
}
