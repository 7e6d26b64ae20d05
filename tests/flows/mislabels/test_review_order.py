"""Export for review in the order of the expected gain, for every kind of study."""

import json

import numpy as np
import polars as pl
import pytest
import tiny
from command_line import invoke as run
from noisy_study import BASE, WRONG, fill_in, run_search
from sklearn.datasets import load_breast_cancer

from tasks.mislabels import review_order
from tasks.mislabels.doubtful_rows import MIN_PROBABILITY

NAMES = ["malignant", "benign"]


def export(study, out, *options):
    done = run("review", "export", "--study", study, "--out", out, *options)
    assert done.exit_code == 0, done.output
    return pl.read_csv(out, infer_schema=False), " ".join(done.output.split())


def write_queries(study, labels, count=3):
    """Replace the queries by rows of other texts with right labels."""
    words = dict(zip(tiny.LABELS, (tiny.BAD, tiny.GOOD), strict=True))
    rows = [
        {"id": f"query-{label}-{i}", "text": f"the {words[label][i]} film", "second": "a",
         "label": label, "kind": "x"}
        for label in labels for i in range(count)
    ]  # fmt: skip
    tiny.write_rows(study.parent / "queries.csv", rows)


def test_rows_are_exported_by_gain_and_the_order_is_named(searched, tmp_path):
    write_queries(searched, tiny.LABELS)
    plain, words = export(searched, tmp_path / "plain.csv")
    assert "ordered by the strength of the doubt." in words
    rows, words = export(searched, tmp_path / "gain.csv", "--order", "gain")
    assert "ordered by the expected gain" in words
    assert "on 6 labelled queries." in words
    assert rows.columns == plain.columns
    assert rows["id"].to_list() != plain["id"].to_list()
    flipped = {f"row-{i}" for i in range(WRONG)}
    assert len(flipped & set(rows["id"].head(WRONG).to_list())) > WRONG / 2
    assert len(rows) == min(20, len(plain))
    assert all(float(p) >= MIN_PROBABILITY for p in rows["strength"])
    again, _ = export(searched, tmp_path / "again.csv", "--order", "gain")
    assert again.equals(rows)
    same, _ = export(searched, tmp_path / "same.csv", "--order", "doubt")
    assert same.equals(plain)


@pytest.mark.parametrize(("labels", "count"), [(tiny.LABELS[:1], 3), (tiny.LABELS, 1)])
def test_queries_that_lack_a_label_are_not_used(searched, tmp_path, labels, count):
    write_queries(searched, labels, count)
    rows, words = export(searched, tmp_path / "gain.csv", "--order", "gain", "--budget", 30)
    assert "training rows with their probable labels" in words
    assert len(rows) == 30


def test_an_order_of_a_random_sample_is_refused(searched, tmp_path):
    out = tmp_path / "x.csv"
    for order in ("gain", "doubt"):
        done = run(
            "review", "export", "--study", searched, "--out", out, "--random", 5, "--order", order
        )
        assert done.exit_code == 2
        assert "--order or --random" in " ".join(done.output.split())
        assert not out.exists()


def test_reviewed_rows_are_learned_from_before_the_next_detection(searched, tmp_path, monkeypatch):
    write_queries(searched, tiny.LABELS)
    out = tmp_path / "first.csv"
    first, _ = export(searched, out, "--order", "gain")
    fill_in(out, lambda row: row["suggested"])
    assert run("review", "import", out, "--study", searched).exit_code == 0
    inputs, compute = [], review_order.compute_review_gain

    def observe(rows, *arguments):
        inputs.append(rows)
        return compute(rows, *arguments)

    monkeypatch.setattr(review_order, "compute_review_gain", observe)
    second, _ = export(searched, tmp_path / "second.csv", "--order", "gain", "--budget", 200)
    assert not set(first["id"]) & set(second["id"])
    assert int((inputs[0].known >= 0).sum()) >= len(first)


@pytest.mark.long
def test_the_second_night_has_an_order_too(searched, tmp_path):
    write_queries(searched, tiny.LABELS)
    out = tmp_path / "first.csv"
    first, _ = export(searched, out, "--order", "gain", "--budget", 5)
    fill_in(out, lambda row: row["suggested"])
    assert run("review", "import", out, "--study", searched).exit_code == 0
    table = searched.parent / "train.csv"
    rows = tiny.rows_of(table)[2:]
    rows[10]["label"] = tiny.LABELS[rows[10]["label"] == tiny.LABELS[0]]
    new = {**rows[0], "id": "new", "text": "the very slow and dull plot was not a film"}
    tiny.write_rows(table, [*rows, new])
    done = run(
        "review", "export", "--study", searched, "--out", tmp_path / "x.csv", "--order", "gain"
    )
    assert done.exit_code == 2, "there is no detection of these rows yet"
    run_search(searched)
    second, _ = export(searched, tmp_path / "s.csv", "--order", "gain", "--budget", 200)
    assert "new" in second["id"].to_list()
    assert not set(first["id"]) & set(second["id"])
    left = {row["id"] for row in rows} - set(second["id"])
    assert set(first["id"]) & {row["id"] for row in rows} <= left


def test_no_work_is_done_where_nothing_is_left_to_review(searched, tmp_path, monkeypatch):
    out = tmp_path / "all.csv"
    export(searched, out, "--budget", 200)
    fill_in(out, lambda row: row["label"])
    assert run("review", "import", out, "--study", searched).exit_code == 0
    monkeypatch.setattr(review_order, "compute_gain_column", None)
    done = run("review", "export", "--study", searched, "--out", tmp_path / "x", "--order", "gain")
    assert done.exit_code == 2
    done = run(
        "review", "export", "--study", searched, "--out", tmp_path / "x.csv", "--order", "gain"
    )
    assert done.exit_code == 2
    assert "Nothing is left to review" in " ".join(done.output.split())


@pytest.mark.long
def test_a_table_without_queries_has_an_order_by_gain(tmp_path):
    data, n = load_breast_cancer(), 300
    wrong = np.random.default_rng(0).permutation(n)[:30]
    labels = data.target[:n].copy()
    labels[wrong] = 1 - labels[wrong]
    columns = {str(name): data.data[:n, i] for i, name in enumerate(data.feature_names)}
    frame = pl.DataFrame({"id": range(n), "label": [NAMES[y] for y in labels], **columns})
    frame.write_parquet(tmp_path / "rows.parquet")
    lines = [
        'name = "tumours"', f"labels = {json.dumps(NAMES)}",
        "[train]", 'table = "rows.parquet"', 'id = "id"', 'label = "label"',
        f"features = {json.dumps(list(columns))}",
        "[store]", 'path = "store"',
    ]  # fmt: skip
    study = tmp_path / "study.toml"
    study.write_text("\n".join(lines))
    run_search(study)
    rows, words = export(study, tmp_path / "gain.csv", "--order", "gain", "--budget", 20)
    assert "training rows with their probable labels" in words
    flips = {int(name) for name in rows["id"]} & set(wrong.tolist())
    assert len(flips) >= 15


@pytest.mark.long
def test_pairs_of_texts_have_an_order_by_gain(noisy, tmp_path):
    both = {"text": ["text", "second"]}
    tiny.write_study(
        noisy.parent, training=BASE, mislabels={"budget": 20}, train=both, queries=both
    )
    run_search(noisy)
    rows, _ = export(noisy, tmp_path / "gain.csv", "--order", "gain", "--budget", 15)
    assert len(rows) == 15
