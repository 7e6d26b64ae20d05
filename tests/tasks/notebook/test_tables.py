"""Tables of a session: every form holds the same rows, other forms are refused with a remedy."""

from datetime import date

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import fastif
from tasks.notebook.tables import write_table

ROWS = [
    {"text": "good", "label": "pos", "stars": 4},
    {"text": "bad\nand worse", "label": "neg", "stars": None},
]
LABELS = ["neg", "pos"]


def make_dataset():
    rows = {"text": [row["text"] for row in ROWS], "label": [1, 0], "stars": [4, None]}
    features = datasets.Features(
        text=datasets.Value("string"),
        label=datasets.ClassLabel(names=LABELS),
        stars=datasets.Value("int64"),
    )
    return datasets.Dataset.from_dict(rows, features)


FORMS = {
    "list": lambda: ROWS,
    "late keys": lambda: [{"text": "good", "label": "pos", "stars": 4}, {**ROWS[1]}],
    "columns": lambda: {name: [row[name] for row in ROWS] for name in ROWS[0]},
    "polars": lambda: pl.DataFrame(ROWS),
    "lazy": lambda: pl.LazyFrame(ROWS),
    "pandas": lambda: pd.DataFrame(ROWS),
    "data set": make_dataset,
    "selected": lambda: datasets.concatenate_datasets([make_dataset(), make_dataset()]).select(
        [2, 1]
    ),
    "formatted": lambda: make_dataset().with_format("torch", columns=["label"]),
    "tokenized too": lambda: make_dataset().map(lambda row: {"input_ids": [1, 2]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_rows(form, tmp_path):
    table = write_table(FORMS[form](), "train", tmp_path)
    frame = pl.read_parquet(table.path)
    assert frame.columns == ["text", "label", "stars"]
    assert frame["text"].to_list() == ["good", "bad\nand worse"]
    assert frame["label"].to_list() == ["pos", "neg"]
    assert frame["stars"].to_list() == [4, None]
    assert table.id is None
    assert table.notes == ()


def test_a_path_is_kept(tmp_path):
    path = tmp_path / "Rows.csv"
    path.write_text("text,label\n")
    assert write_table(str(path), "train", tmp_path).path == path
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(fastif.InputError, match=r'Did you mean "Rows.csv"'):
        write_table(tmp_path / "Row.csv", "queries", tmp_path)


def test_a_missing_class_label_is_missing(tmp_path):
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [-1, 1]})
    rows = rows.cast_column("label", datasets.ClassLabel(names=LABELS))
    frame = pl.read_parquet(write_table(rows, "train", tmp_path).path)
    assert frame["label"].to_list() == [None, "pos"]


def test_the_index_of_a_filtered_data_frame_is_its_id(tmp_path):
    frame = pd.DataFrame({"text": list("abc"), "label": list("xyx")}).iloc[[2, 0]]
    table = write_table(frame, "train", tmp_path)
    assert table.id is not None
    assert pl.read_parquet(table.path)[table.id].to_list() == [2, 0]
    named = write_table(frame.rename_axis("ticket"), "queries", tmp_path)
    assert named.id == "ticket"


@pytest.mark.parametrize("make", [pd.DataFrame, lambda columns: columns, pl.DataFrame])
def test_columns_of_mixed_values_are_left_out_and_named(make, tmp_path):
    mixed = [date(2026, 1, 1), 3.5]  # a conversion would read the number as a day
    columns = {"text": ["a", "b"], "when": mixed, "n": [0.5, 2], "set": [{1}, "x"]}
    if make is pl.DataFrame:
        columns = {name: pl.Series(values, dtype=pl.Object if name in ("when", "set") else None)
                   for name, values in columns.items()}  # fmt: skip
    table = write_table(make(columns), "train", tmp_path)
    frame = pl.read_parquet(table.path)
    assert frame.columns == ["text", "n"]
    assert frame["n"].to_list() == [0.5, 2]
    assert "when and set" in table.notes[0] or "when, set" in table.notes[0]
    with pytest.raises(fastif.InputError, match="column when"):
        write_table(make(columns), "train", tmp_path, ["when"])


REFUSED = {
    "nothing": (None, "got nothing"),
    "empty": ([], "an empty list"),
    "no rows": (pd.DataFrame({"text": [], "label": []}), "at least one row"),
    "texts": (["a", "b"], "got list"),
    "array": (np.zeros((2, 2)), "numpy.ndarray"),
    "torch": (torch.utils.data.TensorDataset(torch.zeros(2)), "TensorDataset"),
    "splits": (datasets.DatasetDict(train=make_dataset()), r"train=data\['train'\]"),
    "stream": (make_dataset().to_iterable_dataset(), r"train=list\(data\)"),
    "tokens": (
        make_dataset().map(lambda row: {"input_ids": [1]}, remove_columns=["text", "label"]),
        "before it was tokenized",
    ),
    "lengths": ({"text": ["a", "b"], "label": ["x"]}, "equal lengths"),
    "repeated": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "different names"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_forms_are_refused_with_a_remedy(name, tmp_path):
    data, message = REFUSED[name]
    with pytest.raises(fastif.InputError, match=message):
        write_table(data, "train", tmp_path)
    assert list(tmp_path.iterdir()) == []
