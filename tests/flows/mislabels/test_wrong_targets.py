"""Wrong targets of several labels a row and of numbers: search, review, correction."""

import numpy as np
import polars as pl
import pytest

from tasks.wrong_targets.corrected_targets import correct_targets
from tasks.wrong_targets.target_plan import read_target_plan
from tests.flows.mislabels.wrong_target_tables import (
    FORMS,
    ROWS,
    WRONG,
    fill_in,
    list_names,
    read_table,
    run,
    search,
    write_made,
    write_rows,
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
