"""Tables with injected errors among several labels a row and among numbers, and their commands."""

import json

import numpy as np
import polars as pl
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.run.existing_store import open_existing_store
from tasks.study.study import load_study
from tasks.wrong_targets.search import search_wrong_targets
from tasks.wrong_targets.stored_searches import read_search

ROWS, WRONG = 120, 8
TAGS = ["warm", "cold"]
FORMS = ("tags", "lists", "columns", "words", "number", "decimal comma", "vector")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def make_values(form, seed=0):
    """Features, right targets and given ones; the first eight rows have one wrong target each."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(ROWS, 3))
    if form in ("number", "decimal comma", "vector"):
        right = np.round(np.stack([10 * x[:, 0] + 50, x[:, 1] - x[:, 2]], 1), 3)
        right += np.round(0.3 * draw.normal(size=right.shape), 3)
        right = np.round(right if form == "vector" else right[:, :1], 3)
        given = right.copy()
        given[:WRONG, 0] = np.round(right[:WRONG, 0] + 80, 3)
        return x, right, given
    x[np.abs(x) < 0.2] = 0.4
    right = (x[:, :2] > 0).astype(float)
    given = right.copy()
    for row in range(WRONG):
        given[row, row % 2] = 1 - given[row, row % 2]
    return x, right, given


def make_columns(form, given):
    """Target columns of a form, and the keys of the study."""
    if form == "vector":
        columns = {name: given[:, j] for j, name in enumerate(("price", "size"))}
        return columns, 'labels = ["price", "size"]'
    if form == "decimal comma":
        return {"price": [f"{v}".replace(".", ",") for v in given[:, 0]]}, 'label = "price"'
    if form == "number":
        return {"price": given[:, 0]}, 'label = "price"'
    lists = [[tag for tag, value in zip(TAGS, row, strict=True) if value] for row in given]
    if form == "tags":
        return {"tags": [" | ".join(row) or "|" for row in lists]}, 'label = "tags"'
    if form == "lists":
        return {"tags": lists}, 'label = "tags"'
    if form == "columns":
        columns = {tag: given[:, j].astype(int) for j, tag in enumerate(TAGS)}
        return columns, f"labels = {json.dumps(TAGS)}"
    columns = {t: [["no", "yes"][int(v)] for v in given[:, j]] for j, t in enumerate(TAGS)}
    return columns, f"labels = {json.dumps(TAGS)}"


def write_rows(path, form, targets):
    """Write the table of a form with these targets, and return the target keys of its study."""
    x, _, _ = make_values(form)
    columns, keys = make_columns(form, targets)
    rows = pl.DataFrame({"key": [f"r{i}" for i in range(ROWS)]})
    rows = rows.with_columns(*(pl.Series(f"x{j}", x[:, j].round(5)) for j in range(3)))
    rows = rows.with_columns(pl.Series(name, values) for name, values in columns.items())
    rows = rows.with_columns(other=pl.lit("kept; as it is"))
    if form == "decimal comma":
        text = pl.col("x0", "x1", "x2").cast(pl.String).str.replace(".", ",", literal=True)
        rows.with_columns(text).write_csv(path, separator=";")
    elif path.suffix == ".csv":
        rows.write_csv(path)
    elif path.suffix == ".jsonl":
        rows.write_ndjson(path)
    else:
        rows.write_parquet(path)
    return keys


def write_made(folder, form, table="rows.csv"):
    """Write the table and the study of a form."""
    _, right, given = make_values(form)
    keys = write_rows(folder / table, form, given)
    target = 'target = "number"'
    if form in ("tags", "lists", "columns", "words"):
        target = f'target = "multi-label"\nlabels = {json.dumps(TAGS)}'
    (folder / "study.toml").write_text(
        f'name = "made"\n{target}\n[train]\ntable = "{table}"\nfeatures = ["x0", "x1", "x2"]\n'
        f'{keys}\nid = "key"\n[store]\npath = "store"\n'
    )
    return folder / "study.toml", right, given


def fill_in(path, right, names):
    """Fill in the right targets of a review file, as a reviewer who knows the truth."""
    rows = pl.read_csv(path, infer_schema=False).to_dicts()
    for row in rows:
        value = right[int(row["id"][1:]), names.index(row["label"])]
        row["right_label"], row["reviewer"] = f"{value}", "ann"
    pl.DataFrame(rows).write_csv(path)
    return rows


def read_table(study):
    return search(study).table


def search(study):
    digest = search_wrong_targets(study)
    return read_search(open_existing_store(load_study(study)), digest)


def list_names(form):
    return {"vector": ["price", "size"], "number": ["price"], "decimal comma": ["price"]}.get(
        form, TAGS
    )
