"""Wrong targets of several labels a row and of numbers: search, review, correction."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.run.existing_store import open_existing_store
from tasks.study.study import load_study
from tasks.wrong_targets.corrected_targets import correct_targets
from tasks.wrong_targets.search import search_wrong_targets
from tasks.wrong_targets.stored_searches import read_search
from tasks.wrong_targets.target_plan import read_target_plan

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


@pytest.mark.parametrize(
    ("form", "table"),
    [
        *((form, "rows.csv") for form in FORMS if form != "lists"),
        ("lists", "rows.jsonl"),
        ("lists", "rows.parquet"),
        ("vector", "rows.parquet"),
        ("number", "rows.jsonl"),
        ("tags", "rows.parquet"),
    ],
)
def test_the_whole_round_corrects_the_table_and_keeps_the_rest(tmp_path, form, table):
    study, right, given = write_made(tmp_path, form, table)
    review, names = tmp_path / "review.csv", list_names(form)
    shown = run("mislabels", study, "-k", WRONG)
    assert shown.exit_code == 0, shown.output
    assert run("review", "export", "-o", review, study, "--budget", 12).exit_code == 0
    rows = fill_in(review, right, names)
    wrong = {(f"r{i}", names[j]) for i, j in zip(*np.nonzero(given != right), strict=True)}
    assert {(row["id"], row["label"]) for row in rows[:WRONG]} == wrong
    assert run("review", "import", review, study).exit_code == 0
    out = tmp_path / f"clean{(tmp_path / table).suffix}"
    applied = run("review", "apply", study, "-o", out)
    assert applied.exit_code == 0, applied.output
    # The corrected file equals one that was written with the right targets from the start.
    other = tmp_path / "other"
    other.mkdir()
    write_rows(other / table, form, right)
    assert read_file(out).equals(read_file(other / table))
    if table.endswith((".csv", ".jsonl")):
        before, after = ((tmp_path / n).read_text().splitlines() for n in (table, out.name))
        assert sum(a != b for a, b in zip(before, after, strict=True)) == WRONG
    log = pl.read_csv(out.with_suffix(".changes.csv"))
    assert {(row["id"], row["name"]) for row in log.to_dicts()} == wrong


def read_file(path):
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    if path.suffix == ".jsonl":
        return pl.read_ndjson(path)
    separator = ";" if ";x0" in path.read_text().partition("\n")[0] else ","
    return pl.read_csv(path, separator=separator)


@pytest.mark.parametrize("form", ["tags", "number"])
def test_a_second_night_uses_the_verdicts_and_lists_no_reviewed_target_again(tmp_path, form):
    study, right, _ = write_made(tmp_path, form)
    review, names = tmp_path / "review.csv", list_names(form)
    first = read_table(study)
    assert run("review", "export", "-o", review, study, "--budget", 6).exit_code == 0
    reviewed = {(row["id"], row["label"]) for row in fill_in(review, right, names)}
    assert run("review", "import", review, study).exit_code == 0
    # New rows come first, in another order, and a third of the old ones is gone.
    rows = pl.read_csv(tmp_path / "rows.csv", infer_schema=False)
    added = rows.head(3).with_columns(
        key=pl.Series(["n0", "n1", "n2"]), x0=pl.Series(["0.91", "1.7", "-1.3"])
    )
    pl.concat([added, rows.head(80).reverse()]).write_csv(tmp_path / "rows.csv")
    second = read_table(study)
    assert len(second) == 83 * len(names)
    known = second.filter(pl.col("reviewed").is_not_null())
    assert {(row["id"], row["name"]) for row in known.to_dicts()} == reviewed
    assert known["rank"].min() == len(second) - len(known)
    for row in known.to_dicts():
        truth = right[int(row["id"][1:]), names.index(row["name"])]
        assert row["reviewed"] == truth
        assert row["score"] == (row["given"] != truth)
    assert run("review", "export", "-o", tmp_path / "next.csv", study).exit_code == 0
    again = pl.read_csv(tmp_path / "next.csv", infer_schema=False)
    assert not reviewed & set(again.select("id", "label").iter_rows())
    # The suggestions of the search were made with the reviewed targets.
    unreviewed = ~first["id"].is_in([name for name, _ in reviewed])
    assert not first.filter(unreviewed)["doubt"].equals(second["doubt"])
    # A corrected row is known as reviewed, and as right.
    out = tmp_path / "clean.csv"
    assert run("review", "apply", study, "-o", out).exit_code == 0
    study.write_text(study.read_text().replace("rows.csv", "clean.csv"))
    third = read_table(study).filter(pl.col("reviewed").is_not_null())
    assert {(row["id"], row["name"]) for row in third.to_dicts()} == reviewed
    assert (third["given"] == third["reviewed"]).all()
    assert correct_targets(read_target_plan(study)).changes.is_empty()


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    study, _, _ = write_made(tmp_path, "tags")
    first = read_table(study).sort("id", "name")
    rows = pl.read_csv(tmp_path / "rows.csv", infer_schema=False)
    rows.sample(fraction=1, shuffle=True, seed=1).write_csv(tmp_path / "rows.csv")
    second = read_table(study).sort("id", "name")
    columns = ["id", "name", "given", "score", "suggested"]
    assert second.select(columns).equals(first.select(columns))


@pytest.mark.parametrize("form", ["tags", "number"])
def test_random_verdicts_count_the_wrong_targets(tmp_path, form):
    study, right, given = write_made(tmp_path, form)
    review, names = tmp_path / "random.csv", list_names(form)
    assert "is unknown" in run("mislabels", study).output.replace("\n", " ")
    assert run("review", "export", "-o", review, study, "--random", 60).exit_code == 0
    header = pl.read_csv(review).columns
    assert not {"suggested", "probability", "score", "strength", "low"} & {*header}
    fill_in(review, right, names)
    assert run("review", "import", review, study).exit_code == 0
    counts = search(study).facts["counts"]
    truth = {name: int((given != right)[:, j].sum()) for j, name in enumerate(names)}
    truth[""] = sum(truth.values())
    assert {*counts} == {*truth}
    for name, count in counts.items():
        assert count["low"] <= truth[name] <= count["high"]
    assert counts[""]["verdicts"] == 60
    assert "with 90 % confidence" in run("mislabels", study).output.replace("\n", " ")


def test_reviewers_who_disagree_change_nothing(tmp_path):
    study, _, _ = write_made(tmp_path, "tags")
    read_table(study)
    review = tmp_path / "review.csv"
    assert run("review", "export", "-o", review, study, "--budget", 2).exit_code == 0
    rows = pl.read_csv(review, infer_schema=False).to_dicts()
    both = [
        {**row, "right_label": value, "reviewer": name}
        for row in rows
        for name, value in (("ann", "1"), ("ben", "0"))
    ]
    pl.DataFrame(both).write_csv(review)
    assert run("review", "import", review, study).exit_code == 0
    corrected = correct_targets(read_target_plan(study))
    assert corrected.changes.is_empty()
    assert corrected.conflicts == 2
    assert read_table(study)["reviewed"].null_count() == 2 * ROWS


@pytest.mark.parametrize(
    ("form", "word"),
    [("tags", "2"), ("tags", "warm"), ("number", "nan"), ("number", "1,5"), ("number", "many")],
)
def test_unreadable_verdicts_are_refused_by_row(tmp_path, form, word):
    study, _, _ = write_made(tmp_path, form)
    read_table(study)
    review = tmp_path / "review.csv"
    assert run("review", "export", "-o", review, study, "--budget", 1).exit_code == 0
    row = pl.read_csv(review, infer_schema=False).with_columns(right_label=pl.lit(word))
    row.write_csv(review)
    refused = run("review", "import", review, study)
    assert refused.exit_code == 2
    assert "right_label" in refused.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mislabels", "--validate", "1"), "--validate"),
        (("review", "export", "--order", "gain", "-o", "a.csv"), "--order gain"),
        (("review", "export", "-o", "a.json"), ".csv or .parquet"),
        (("review", "apply", "--drop-duplicates"), "--drop-duplicates"),
        (("review", "apply"), "annotations"),
        (("audit",), "labels-only"),
    ],
)
def test_what_other_targets_lack_is_refused_by_name(tmp_path, monkeypatch, words, message):
    study, _, _ = write_made(tmp_path, "number")
    monkeypatch.chdir(tmp_path)
    read_table(study)
    refused = run(*words, study)
    assert refused.exit_code == 2
    assert message in refused.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[store]", "[mislabels]\njudges = ['other']\n[store]"), "judges"),
        (('target = "number"', 'target = "soft-label"\nlabels = ["a", "b"]'), "target"),
    ],
)
def test_keys_of_classes_are_refused_by_name(tmp_path, change, message):
    study, _, _ = write_made(tmp_path, "number")
    study.write_text(study.read_text().replace(*change))
    refused = run("mislabels", study)
    assert refused.exit_code == 2
    assert message in refused.output


def test_equal_targets_are_refused(tmp_path):
    study, _, _ = write_made(tmp_path, "number")
    rows = pl.read_csv(tmp_path / "rows.csv").with_columns(price=pl.lit(3.5))
    rows.write_csv(tmp_path / "rows.csv")
    refused = run("mislabels", study)
    assert refused.exit_code == 2
    assert "a table with rows of different targets" in refused.output


def test_a_label_that_no_row_has_is_told_and_not_searched(tmp_path):
    study, _, _ = write_made(tmp_path, "tags")
    study.write_text(study.read_text().replace('"cold"]', '"cold", "long"]'))
    shown = run("mislabels", study)
    assert shown.exit_code == 0
    assert 'Not searched: "long"' in shown.output
    assert read_table(study).filter(pl.col("name") == "long")["score"].null_count() == ROWS
