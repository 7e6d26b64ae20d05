"""The search for wrong labels, from the command line to what reviewers said."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import tiny
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from fastif import InputError
from fastif.mislabels.feature_views import TEXT_WEIGHTS
from flows.cli.app import app
from storage import Store
from storage.mislabel_schemas import LABEL_SCORES, MISLABELS
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.detection_plan import read_detection_plan
from tasks.mislabels.label_words import NONE
from tasks.mislabels.results import read_latest_result, read_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

BASE = {"base": "base", "trainable": "last:1", "epochs": 1}
WRONG = 12


@pytest.fixture
def noisy(world) -> Path:
    """A study whose texts tell their label, but for twelve planted errors."""
    return write_noisy(world)


@pytest.fixture(scope="module")
def search_of_noisy(made, tmp_path_factory) -> Path:
    """The folder of the noisy study after its first search; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("searched") / "world")
    run_search(write_noisy(folder))
    return folder


@pytest.fixture
def searched(search_of_noisy, tmp_path) -> Path:
    """The noisy study with its first search in the store: `run_search` reads what is there."""
    return tiny.copy(search_of_noisy, tmp_path / "world") / "study.toml"


def write_noisy(folder: Path) -> Path:
    draw, rows = random.Random(3), []
    for i in range(120):
        good = i % 2 == 0
        words = [draw.choice(tiny.GOOD if good else tiny.BAD) for _ in range(4)]
        text = " ".join([*words, draw.choice(["film", "plot", "actor"]), "was", "very"])
        label = tiny.LABELS[good ^ (i < WRONG)]
        rows.append({"id": f"row-{i}", "text": text, "second": "a", "label": label, "kind": "x"})
    tiny.write_rows(folder / "train.csv", rows)
    tiny.write_study(folder, training=BASE, mislabels={"budget": 20})
    return folder / "study.toml"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def run_search(study):
    digest = detect_mislabels.fn(str(study))
    return read_result(open_existing_store(load_study(study)), digest)


def read_audit_sample(result):
    drawn = result.facts["drawn"]
    return drawn["rows"], drawn["wrong"], drawn["enough"]


def select_flipped(frame):
    return frame.filter(pl.col("id").is_in([f"row-{i}" for i in range(WRONG)]))


def test_the_command_finds_what_was_planted_and_says_why(noisy):
    done = run("mislabels", noisy)
    following = "".join(done.output.partition("Next: ")[2].split())
    assert f"--study{noisy}" in following  # and not the study of the folder one happens to be in
    assert done.exit_code == 0, done.output
    result = read_latest_result(open_existing_store(load_study(noisy)))
    assert select_flipped(result.table)["rank"].max() < 20  # the review budget
    assert (
        select_flipped(result.table)["suggested"] != select_flipped(result.table)["label"]
    ).all()
    for words in ("nearest of another label", "90 % interval", "canaries"):
        assert words in done.output
    assert "has seen their labels" not in done.output
    table = result.table
    near = table.join(
        table.select(agreeing="train", other="label"), on="agreeing", how="left"
    ).drop_nulls("other")
    assert (near["label"] == near["other"]).all()
    assert set(LABEL_SCORES) < set(table.columns)
    assert table["rank"].sort().to_list() == list(range(120))


def test_the_second_time_nothing_is_computed(noisy):
    first = run_search(noisy)
    assert tuple(first.facts["mix"]) in TEXT_WEIGHTS
    assert run_search(noisy).facts == first.facts
    assert "there already" in run("mislabels", noisy, "--dry-run").output


def test_new_rows_alone_are_read_by_the_encoder(searched, monkeypatch):
    run_search(searched)
    rows = tiny.rows_of(searched.parent / "train.csv")
    more = {**rows[0], "id": "new", "text": "the very slow and dull plot was not a film"}
    tiny.write_rows(searched.parent / "train.csv", [*rows, more])
    read = []
    from tasks.mislabels import text_features as encoded

    real = encoded.mean_pool
    monkeypatch.setattr(
        encoded, "mean_pool", lambda m, e, ids, *a: read.extend(ids.tolist()) or real(m, e, ids)
    )
    assert len(run_search(searched).table) == 121
    assert len(read) == 1


def test_rows_in_another_order_are_ranked_the_same_to_the_last_digit(searched):
    before = run_search(searched).table
    rows = tiny.rows_of(searched.parent / "train.csv")
    random.Random(1).shuffle(rows)
    tiny.write_rows(searched.parent / "train.csv", rows)
    after = run_search(searched).table
    columns = ["id", "rank", "probability", "suggested", "confidence", "loss", "margin"]
    assert_frame_equal(before.select(columns).sort("id"), after.select(columns).sort("id"))


def test_a_dry_run_writes_nothing(noisy):
    done = run("mislabels", noisy, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "120 training rows" in done.output
    assert not (noisy.parent / "store").exists()


def test_the_model_itself_as_the_encoder_is_pointed_out(world):
    done = run("mislabels", tiny.write_study(world))
    assert done.exit_code == 0, done.output
    assert "has seen their labels" in " ".join(done.output.split())


def test_an_encoder_that_is_not_there_is_refused(world):
    done = run("mislabels", tiny.write_study(world, mislabels={"encoder": "./nowhere"}))
    assert done.exit_code == 2
    assert "[mislabels] encoder" in " ".join(done.output.split())


def test_the_studys_own_training_judges_rows_that_it_has_not_seen(noisy, monkeypatch):
    changes = {"training": {**BASE, "epochs": 3}, "mislabels": {"budget": 20, "folds": 3}}
    tiny.write_study(noisy.parent, **changes)
    fitted_ids = []
    from tasks.mislabels import cross_fitted_classifier as judges

    real = judges.fastif.fit
    monkeypatch.setattr(
        judges.fastif,
        "fit",
        lambda o, rows, *a: fitted_ids.append(set(rows.ids.tolist())) or real(o, rows, *a),
    )
    ranking = run_search(noisy).table
    assert ranking["judged_loss"].null_count() == 0
    assert len(fitted_ids) == 3
    left_out = [set(range(120)) - kept for kept in fitted_ids]
    assert sorted(row for fold in left_out for row in fold) == list(range(120))
    tiny.write_study(noisy.parent, **{**changes, "mislabels": {"budget": 21, "folds": 3}})
    run_search(noisy)
    assert len(fitted_ids) == 3  # kept from the first time


def test_another_classifier_judges(noisy):
    tiny.make_other(noisy.parent, "other", seed=1)
    tiny.write_study(noisy.parent, training=BASE, mislabels={"judge": "other"})
    assert run_search(noisy).table["judged_loss"].null_count() == 0
    tiny.write_study(noisy.parent, training=BASE, mislabels={"judge": "model"})
    with pytest.raises(InputError, match="never trained on these rows"):
        run_search(noisy)


def test_words_are_counted_in_single_texts_and_not_in_pairs(searched):
    single = run_search(searched).table
    assert single["word_loss"].null_count() == 0
    assert select_flipped(single)["word_loss"].mean() > 2 * single["word_loss"].mean()
    both = {"text": ["text", "second"]}
    tiny.write_study(searched.parent, training=BASE, train=both, queries=both)
    assert run_search(searched).table["word_loss"].null_count() == 120


def test_folds_without_a_training_are_refused(world):
    done = run("mislabels", tiny.write_study(world, mislabels={"folds": 3}))
    assert done.exit_code == 2
    assert "[mislabels] folds" in done.output


def test_trusted_queries_are_used_and_told(noisy):
    tiny.write_study(noisy.parent, training=BASE, queries={"trusted": True})
    done = run("mislabels", noisy)
    assert done.exit_code == 0, done.output
    assert f"{tiny.QUERIES} queries of certain label" in done.output
    assert (
        read_latest_result(open_existing_store(load_study(noisy)))
        .table["trusted_loss"]
        .null_count()
        == 0
    )


def test_trusted_queries_that_are_training_rows_are_told(world):
    """They judge themselves; and no more labels are wrong than there are."""
    rows = tiny.rows_of(world / "train.csv")[:30]
    tiny.write_rows(world / "queries.csv", rows)
    study = tiny.write_study(world, training=BASE, queries={"trusted": True})
    done = run("mislabels", study)
    assert "30 of these are training rows, word for word" in " ".join(done.output.split())
    facts = read_latest_result(open_existing_store(load_study(study))).facts
    of_all = {**facts["errors"], "rows": facts["rows"]}
    for count in (of_all, *facts["by_label"].values()):
        assert 0 <= count["low"] <= count["expected"] <= count["high"] <= count["rows"]


def test_trusted_queries_of_one_class_are_refused(noisy):
    rows = tiny.rows_of(noisy.parent / "queries.csv")
    only = [{**row, "label": "pos"} for row in rows]
    tiny.write_rows(noisy.parent / "queries.csv", only)
    tiny.write_study(noisy.parent, training=BASE, queries={"trusted": True})
    done = run("mislabels", noisy)
    assert done.exit_code == 2
    assert "two or more of each class" in " ".join(done.output.split())


def test_harm_is_that_of_the_newest_audit(noisy):
    store, name = tiny.run_directly(noisy)
    ranking = run_search(noisy).table
    scores = store.scan("scores", name).collect()
    for row in ranking.head(20).iter_rows(named=True):
        own = scores.filter(pl.col("train") == row["train"])["removal_effect"].to_list()
        assert row["harm"] == pytest.approx(-sum(min(0.0, e) for e in own), rel=1e-4, abs=1e-9)
    assert (ranking["harm_same_label"] <= ranking["harm"] + 1e-9).all()


def fill_in(path, right):
    """A reviewer's file: `right` gives the verdict for each row of it."""
    rows = pl.read_csv(path, infer_schema=False).to_dicts()
    for row in rows:
        row["right_label"], row["reviewer"] = right(row), "ann"
    pl.DataFrame(rows).write_csv(path)
    return rows


def test_reviewers_verdicts_are_learned_from(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "review.csv"
    assert run("review", "export", "--study", searched, "--out", out).exit_code == 0
    wrong = {f"row-{i}" for i in range(WRONG)}
    rows = fill_in(out, lambda row: row["suggested"] if row["id"] in wrong else row["label"])
    assert len(rows) == 20
    done = run("review", "import", out, "--study", searched)
    assert done.exit_code == 0, done.output
    result = run_search(searched)
    looked = result.table.filter(pl.col("reviewed").is_not_null())
    assert len(looked) >= 20
    assert result.facts["reviewed"]["wrong"] == WRONG
    assert looked["rank"].min() == len(result.table) - len(looked)
    assert (select_flipped(result.table)["probability"] == 1).all()
    assert "of them wrong" in run("mislabels", searched).output
    again = tmp_path / "again.csv"
    run("review", "export", "--study", searched, "--out", again)
    assert not set(pl.read_csv(again)["id"]) & {row["id"] for row in rows}


def test_rows_that_are_alike_are_one_decision(noisy, tmp_path):
    rows = tiny.rows_of(noisy.parent / "train.csv")
    twin = {**rows[0], "id": "twin", "text": rows[0]["text"].upper() + "!"}
    tiny.write_rows(noisy.parent / "train.csv", [*rows, twin])
    run_search(noisy)
    out = tmp_path / "review.csv"
    run("review", "export", "--study", noisy, "--out", out)
    exported = fill_in(out, lambda row: row["suggested"] if row["id"] in ("row-0", "twin") else "")
    assert len({"row-0", "twin"} & {row["id"] for row in exported}) == 1
    run("review", "import", out, "--study", noisy)
    reviewed = run_search(noisy).table.filter(pl.col("reviewed").is_not_null())
    assert sorted(reviewed["id"]) == ["row-0", "twin"]


def test_reviewers_who_disagree_are_shown_and_not_used(searched, tmp_path):
    run_search(searched)
    for who, label in (("ann", "pos"), ("bob", "neg")):
        path = tmp_path / f"{who}.csv"
        pl.DataFrame({"id": ["row-1"], "right_label": [label], "reviewer": [who]}).write_csv(path)
        assert run("review", "import", path, "--study", searched).exit_code == 0
    shown = run("review", "conflicts", "--study", searched).output
    assert "ann: pos" in shown
    assert "bob: neg" in shown
    result = run_search(searched)
    assert result.table["reviewed"].null_count() == 120
    assert result.facts["reviewed"]["conflicts"] == 1
    pl.DataFrame({"id": ["row-1"], "right_label": ["pos"], "reviewer": ["bob"]}).write_csv(
        tmp_path / "later.csv"
    )
    run("review", "import", tmp_path / "later.csv", "--study", searched)
    assert run_search(searched).table.filter(pl.col("id") == "row-1")["reviewed"].to_list() == [
        "pos"
    ]


def test_rows_drawn_at_random_count_the_errors(searched, tmp_path):
    """Beside twelve planted errors, labels that are wrong and look right: thirty of `good` text."""
    run_search(searched)
    out = tmp_path / "drawn.csv"
    done = run("review", "export", "--study", searched, "--out", out, "--random", 60)
    assert done.exit_code == 0, done.output
    again = tmp_path / "again.csv"
    run("review", "export", "--study", searched, "--out", again, "--random", 60)
    assert again.read_bytes() == out.read_bytes()
    wrong = {f"row-{i}" for i in range(WRONG)} | {f"row-{i}" for i in range(60, 120, 2)}
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    rows = fill_in(out, lambda row: other[row["label"]] if row["id"] in wrong else row["label"])
    exported_ids = {row["id"] for row in rows}
    assert len(exported_ids) == 60
    assert {row["drawn"] for row in rows} == {"true"}
    before = run_search(searched)
    assert before.facts["drawn"] is None
    assert before.facts["errors"] is None
    assert run("review", "import", out, "--study", searched).exit_code == 0
    result = run_search(searched)
    errors = result.facts["errors"]
    assert read_audit_sample(result) == (60, len(wrong & exported_ids), True)
    assert result.facts["drawn"]["population"] == 119  # two rows are equal to the letter
    assert result.facts["drawn"]["later"] == 0
    assert errors["low"] <= len(wrong) <= errors["high"]
    assert errors["low"] >= len(wrong & exported_ids)
    assert result.table["probability"].sum() == pytest.approx(errors["expected"], rel=0.1)
    unseen = result.table.filter(pl.col("reviewed").is_null())
    assert (unseen.sort("rank")["doubt"].diff().drop_nulls() <= 1e-6).all()
    shown = run("mislabels", searched).output
    assert "60 rows at random" in shown
    assert "is not known" not in shown
    third = tmp_path / "third.csv"
    run("review", "export", "--study", searched, "--out", third, "--random", 30)
    assert not set(pl.read_csv(third)["id"]) & exported_ids


def test_drawn_rows_count_after_their_labels_were_mended(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "drawn.csv"
    run("review", "export", "--study", searched, "--out", out, "--random", 60)
    wrong = {f"row-{i}" for i in range(60, 120, 2)}
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    rows = fill_in(out, lambda row: other[row["label"]] if row["id"] in wrong else row["label"])
    run("review", "import", out, "--study", searched)
    whole = run_search(searched).facts["errors"]["expected"]
    mended = {row["id"] for row in rows} & wrong
    table = tiny.rows_of(searched.parent / "train.csv")
    for row in table:
        row["label"] = other[row["label"]] if row["id"] in mended else row["label"]
    tiny.write_rows(searched.parent / "train.csv", table)
    after = run_search(searched).facts
    assert after["drawn"]["wrong"] == len(mended)
    assert after["drawn"]["later"] == 0  # what was mended is known to be right
    assert after["errors"]["expected"] == pytest.approx(whole - len(mended), rel=0.25)
    left = len(wrong - mended)
    assert after["errors"]["low"] <= left <= after["errors"]["high"]


def test_drawn_rows_that_are_alike_are_each_drawn_with_its_own_verdict(noisy, tmp_path):
    rows = tiny.rows_of(noisy.parent / "train.csv")
    twin = {**rows[0], "id": "twin", "text": rows[0]["text"].upper() + "!"}
    tiny.write_rows(noisy.parent / "train.csv", [*rows, twin])
    table = run_search(noisy).table
    assert len(set(table.filter(pl.col("id").is_in(["row-0", "twin"]))["cluster"])) == 1
    out = tmp_path / "drawn.csv"
    run("review", "export", "--study", noisy, "--out", out, "--random", 121)
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    fill_in(out, lambda row: other[row["label"]] if row["id"] == "row-0" else row["label"])
    assert run("review", "import", out, "--study", noisy).exit_code == 0
    verdicts = read_annotations(open_existing_store(load_study(noisy)))
    # Rows equal to the letter are one by their content.
    assert len(verdicts.audited) == len({(row["text"], row["label"]) for row in [*rows, twin]})
    errors = run_search(noisy).facts["errors"]
    assert errors == {"expected": 1.0, "low": 1.0, "high": 1.0, "counted": 121}


def test_few_drawn_rows_are_not_counted_by(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "drawn.json"
    run("review", "export", "--study", searched, "--out", out, "--random", 5)
    done = json.loads(out.read_text())
    for job in done:
        value = {"choices": [job["data"]["label"]]}
        job["annotations"] = [{"result": [{"value": value}], "completed_by": 1}]
    out.write_text(json.dumps(done))
    assert run("review", "import", out, "--study", searched).exit_code == 0
    result = run_search(searched)
    assert read_audit_sample(result) == (5, 0, False)
    assert result.facts["errors"] is None
    assert "too few" in run("mislabels", searched).output


def test_a_draw_has_no_budget(noisy, tmp_path):
    out = tmp_path / "drawn.csv"
    done = run("review", "export", "--study", noisy, "--out", out, "--random", 5, "--budget", 5)
    assert done.exit_code == 2
    assert "--random" in done.output
    assert not out.exists()


def test_verdicts_are_never_swept_away(searched, tmp_path):
    run_search(searched)
    path = tmp_path / "v.csv"
    pl.DataFrame({"id": ["row-1"], "right_label": ["pos"]}).write_csv(path)
    run("review", "import", path, "--study", searched)
    parts = searched.parent / "store" / "parts"
    for file in parts.rglob("*"):
        os.utime(file, (0, 0))
    done = run("gc", "--study", searched, "--parts-unused", 1)
    assert done.exit_code == 0, done.output
    assert not list(parts.glob("mislabels/*/*"))
    assert len(read_annotations(open_existing_store(load_study(searched))).agreed) == 1


def test_a_row_that_no_label_fits_is_taken_out(searched, tmp_path):
    run_search(searched)
    path = tmp_path / "none.csv"
    pl.DataFrame({"id": ["row-7"], "right_label": [NONE]}).write_csv(path)
    run("review", "import", path, "--study", searched)
    assert run_search(searched).table.filter(pl.col("id") == "row-7")["reviewed"].to_list() == [
        NONE
    ]


def test_label_studio_there_and_back(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "tasks.json"
    done = run("review", "export", "--study", searched, "--out", out, "--budget", 3)
    assert "<Choices" in done.output
    tasks = json.loads(out.read_text())
    assert len(tasks) == 3
    for task in tasks:
        result = task["predictions"][0]["result"]
        task["annotations"] = [{"completed_by": 7, "result": result}]
    out.write_text(json.dumps(tasks))
    assert run("review", "import", out, "--study", searched).exit_code == 0
    settled = read_annotations(open_existing_store(load_study(searched))).agreed
    assert sorted(settled.values()) == sorted(t["data"]["suggested"] for t in tasks)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"id": ["row-1"], "right_label": ["posh"]}, 'got:      "posh"'),
        ({"id": ["nobody"], "right_label": ["pos"]}, 'got:      "nobody"'),
        ({"id": ["row-1"], "right_label": [""]}, "one label or more"),
        ({"name": ["row-1"], "label": ["pos"]}, "id and right_label"),
    ],
)
def test_verdicts_that_cannot_be_are_refused_and_nothing_is_kept(searched, tmp_path, rows, words):
    run_search(searched)
    path = tmp_path / "verdicts.csv"
    pl.DataFrame(rows).write_csv(path)
    done = run("review", "import", path, "--study", searched)
    assert done.exit_code == 2
    assert words in done.output
    assert not read_annotations(open_existing_store(load_study(searched))).agreed


@pytest.mark.parametrize("name", ["missing.csv", "broken.json", "table.xlsx"])
def test_files_that_are_no_verdicts_are_refused(searched, tmp_path, name):
    run_search(searched)
    if name == "broken.json":
        (tmp_path / name).write_text("{")
    assert run("review", "import", tmp_path / name, "--study", searched).exit_code == 2


def test_an_export_never_overwrites_and_needs_a_search(noisy, tmp_path):
    out = tmp_path / "review.csv"
    assert run("review", "export", "--study", noisy, "--out", out).exit_code == 2
    run_search(noisy)
    out.write_text("verdicts of a week")
    assert run("review", "export", "--study", noisy, "--out", out).exit_code == 2
    assert out.read_text() == "verdicts of a week"
    assert run("review", "export", "--study", noisy, "--out", tmp_path / "x.doc").exit_code == 2


def test_validation_trains_again_and_says_what_cleaning_is_worth(noisy):
    done = run("mislabels", noisy, "--validate", 2)
    assert done.exit_code == 0, done.output
    for words in ("as it is", "suggested label", "random removed", "Cleaning"):
        assert words in done.output


def test_validation_of_a_study_that_trains_nothing_is_by_heads_and_says_so(world):
    done = run("mislabels", tiny.write_study(world), "--validate", 2)
    assert done.exit_code == 0, done.output
    assert "a linear head on frozen features" in " ".join(done.output.replace("│", " ").split())


def test_the_columns_are_those_of_the_schema(searched):
    assert run_search(searched).table.columns == MISLABELS.names


@pytest.mark.long
def test_a_killed_search_goes_on_and_ends_the_same(noisy):
    """Killed at several moments, each time begun again; the table is that of one undisturbed."""
    other = Path(shutil.copytree(noisy.parent, noisy.parent.parent / "other")) / "study.toml"
    undisturbed = run_search(other).table
    command = [sys.executable, "-m", "flows.cli", "mislabels", str(noisy)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for seconds in (3.0, 4.5, 6.0):
        child = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert_frame_equal(run_search(noisy).table, undisturbed)


@pytest.mark.long
@pytest.mark.flow
def test_the_flow_leaves_artifacts_without_texts(noisy, prefect, monkeypatch):
    from flows import mislabels as module

    artifacts = {}
    monkeypatch.setattr(
        module, "create_markdown_artifact", lambda text, **k: artifacts.update(markdown=text)
    )
    monkeypatch.setattr(
        module, "create_table_artifact", lambda rows, **k: artifacts.update(rows=rows)
    )
    digest = module.mislabels(str(noisy))
    assert Store.open(noisy.parent / "store", "tiny").find_artifact("mislabels", digest) is not None
    assert artifacts["rows"][0]["id"].startswith("row-")
    assert "row" in artifacts["markdown"]
    text = tiny.rows_of(noisy.parent / "train.csv")[0]["text"]
    assert text not in artifacts["markdown"] + str(artifacts["rows"])


def test_what_is_asked_depends_on_what_people_said(searched, tmp_path):
    run_search(searched)
    before = read_detection_plan(searched).digest
    path = tmp_path / "v.csv"
    pl.DataFrame({"id": ["row-1"], "right_label": ["pos"]}).write_csv(path)
    run("review", "import", path, "--study", searched)
    assert read_detection_plan(searched).digest != before


def test_a_table_that_is_rolled_back_gets_its_own_review(searched, tmp_path):
    """Night 1, night 2 with more rows, then night 1 again."""
    run_search(searched)
    before = (searched.parent / "train.csv").read_bytes()
    rows = tiny.rows_of(searched.parent / "train.csv")
    more = {**rows[0], "id": "new", "text": "the very slow and dull plot was not a film"}
    tiny.write_rows(searched.parent / "train.csv", [*rows, more])
    unsearched = run("review", "export", "--study", searched, "--out", tmp_path / "no.csv")
    assert unsearched.exit_code == 2
    assert "Run `fastif mislabels` first" in " ".join(unsearched.output.split())
    run_search(searched)
    (searched.parent / "train.csv").write_bytes(before)
    out = tmp_path / "review.csv"
    assert (
        run("review", "export", "--study", searched, "--out", out, "--budget", 200).exit_code == 0
    )
    assert "new" not in pl.read_csv(out)["id"].to_list()
    table = tmp_path / "table.csv"
    assert run("export", "mislabels", "--study", searched, "--out", table).exit_code == 0
    assert "new" not in pl.read_csv(table)["id"].to_list()
    run_search(searched)  # there already; what was asked for last is the newest
    assert len(read_latest_result(open_existing_store(load_study(searched))).table) == 120


def test_an_edited_row_is_told_at_the_import(searched, tmp_path):
    run_search(searched)
    out = tmp_path / "review.csv"
    run("review", "export", "--study", searched, "--out", out, "--budget", 20)
    rows = fill_in(out, lambda row: row["label"])
    table = tiny.rows_of(searched.parent / "train.csv")
    edited = rows[0]["id"]
    for row in table:
        row["text"] += " not" if row["id"] == edited else ""
    tiny.write_rows(searched.parent / "train.csv", table)
    done = run("review", "import", out, "--study", searched)
    assert done.exit_code == 0, done.output
    assert f'id "{edited}"' in done.output
    assert "another text under this id" in " ".join(done.output.split())
    looked = run_search(searched).table.filter(pl.col("reviewed").is_not_null())
    assert edited not in looked["id"].to_list()
    assert len(looked) >= 19


def test_tasks_of_label_studio_tick_nothing_in_a_sample_nor_against_the_likelier_label(
    searched, tmp_path
):
    ranking = run_search(searched).table
    every, sample = tmp_path / "every.json", tmp_path / "sample.json"
    run("review", "export", "--study", searched, "--out", every, "--budget", 120)
    run("review", "export", "--study", searched, "--out", sample, "--random", 60)
    likelier = ranking.filter(
        pl.col("probability") * pl.col("confidence") > 1 - pl.col("probability")
    )
    ticked = [t["data"]["id"] for t in json.loads(every.read_text()) if "predictions" in t]
    assert 0 < len(ticked) < 60
    assert set(ticked) <= set(likelier["id"])
    assert not any("predictions" in task for task in json.loads(sample.read_text()))


def test_a_class_more_voids_no_verdict_and_no_search(noisy, tmp_path):
    """The list of labels grows in front; the study's own training judges, with a logit more."""
    judged = {"training": {**BASE, "epochs": 1}, "mislabels": {"budget": 20, "folds": 2}}
    tiny.write_study(noisy.parent, **judged)
    run_search(noisy)
    out = tmp_path / "review.csv"
    run("review", "export", "--study", noisy, "--out", out, "--budget", 5)
    rows = fill_in(out, lambda row: "none" if row["id"] == "row-0" else row["suggested"])
    assert run("review", "import", out, "--study", noisy).exit_code == 0
    before = read_annotations(open_existing_store(load_study(noisy))).agreed
    tiny.write_study(noisy.parent, **{**judged, "": {"labels": ["mixed", *tiny.LABELS]}})
    # The model itself has two classes, and is not asked by the search.
    ranking = run_search(noisy).table
    looked = ranking.filter(pl.col("reviewed").is_not_null())
    expected = {row["id"]: row["right_label"] for row in rows}
    own = {row["id"]: row["reviewed"] for row in looked.iter_rows(named=True)}
    assert {name: own[name] for name in expected} == expected
    assert len(before) == len(looked)
