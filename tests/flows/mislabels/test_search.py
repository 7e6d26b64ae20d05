"""Mislabel detection by the command: ranking, evidence, cache, validation and the flow."""

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
from command_line import invoke as run
from noisy_study import BASE, run_search, select_flipped
from polars.testing import assert_frame_equal

from fastif.mislabels.feature_views import TEXT_WEIGHTS
from storage import Store
from storage.mislabel_schemas import LABEL_SCORES, MISLABELS
from tasks.mislabels.results import read_latest_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def test_the_command_ranks_flips_first_with_evidence(noisy):
    done = run("mislabels", noisy)
    following = done.output.partition("Next: ")[2]
    assert following == f"fastif review export --out review.csv {noisy}\n", "not a study from here"
    assert done.exit_code == 0, done.output
    result = read_latest_result(open_existing_store(load_study(noisy)))
    assert select_flipped(result.table)["rank"].max() < 20  # the review budget
    assert (
        select_flipped(result.table)["suggested"] != select_flipped(result.table)["label"]
    ).all()
    for words in ("nearest row of another label", "strength", "label flips"):
        assert words in done.output
    assert "90 % interval" not in done.output, "nothing was counted"
    assert "fitted to their labels" not in done.output
    table = result.table
    near = table.join(
        table.select(agreeing="train", other="label"), on="agreeing", how="left"
    ).drop_nulls("other")
    assert (near["label"] == near["other"]).all()
    assert set(LABEL_SCORES) < set(table.columns)
    assert table["rank"].sort().to_list() == list(range(120))


@pytest.mark.long
def test_a_repeated_detection_is_read_from_the_store(noisy):
    first = run_search(noisy)
    assert tuple(first.facts["mix"]) in TEXT_WEIGHTS
    assert run_search(noisy).facts == first.facts
    assert "in the store already" in run("mislabels", noisy, "--dry-run").output


@pytest.mark.long
def test_only_new_rows_are_encoded(searched, monkeypatch):
    run_search(searched)
    rows = tiny.rows_of(searched.parent / "train.csv")
    more = {**rows[0], "id": "new", "text": "the slow plot was not a film"}
    tiny.write_rows(searched.parent / "train.csv", [*rows, more])
    read = []
    from tasks.mislabels import text_windows as encoded

    real = encoded.mean_pool
    monkeypatch.setattr(
        encoded, "mean_pool", lambda m, e, ids, *a: read.extend(ids.tolist()) or real(m, e, ids)
    )
    assert len(run_search(searched).table) == 121
    assert len(read) == 1


@pytest.mark.long
def test_the_order_of_rows_changes_no_digit(searched):
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


@pytest.mark.long
def test_the_model_itself_as_encoder_yields_a_warning(world):
    done = run("mislabels", tiny.write_study(world))
    assert done.exit_code == 0, done.output
    assert "fitted to their labels" in " ".join(done.output.replace("│", " ").split())


def test_a_missing_encoder_is_refused(world):
    done = run("mislabels", tiny.write_study(world, mislabels={"encoder": "./nowhere"}))
    assert done.exit_code == 2
    assert "[mislabels] encoder" in " ".join(done.output.split())


@pytest.mark.long
def test_naive_bayes_is_fitted_to_single_texts_only(searched):
    single = run_search(searched).table
    assert single["word_loss"].null_count() == 0
    assert select_flipped(single)["word_loss"].mean() > 2 * single["word_loss"].mean()
    both = {"text": ["text", "second"]}
    tiny.write_study(searched.parent, training=BASE, train=both, queries=both)
    assert run_search(searched).table["word_loss"].null_count() == 120


@pytest.mark.long
def test_harm_is_from_the_newest_audit(noisy):
    store, name = tiny.run_directly(noisy)
    ranking = run_search(noisy).table
    scores = store.scan("scores", name).collect()
    for row in ranking.head(20).iter_rows(named=True):
        own = scores.filter(pl.col("train") == row["train"])["removal_effect"].to_list()
        assert row["harm"] == pytest.approx(-sum(min(0.0, e) for e in own), rel=1e-4, abs=1e-9)
    assert (ranking["harm_same_label"] <= ranking["harm"] + 1e-9).all()


@pytest.mark.long
def test_validate_reports_the_gain_of_cleaning(noisy):
    done = run("mislabels", noisy, "--validate", 2)
    assert done.exit_code == 0, done.output
    for words in ("unchanged", "flagged rows relabelled", "random rows removed", "Cleaning"):
        assert words in done.output


@pytest.mark.long
def test_validate_without_training_uses_linear_heads(world):
    done = run("mislabels", tiny.write_study(world), "--validate", 2)
    assert done.exit_code == 0, done.output
    assert "a linear head on frozen features" in " ".join(done.output.replace("│", " ").split())


def test_the_columns_are_those_of_the_schema(searched):
    assert run_search(searched).table.columns == MISLABELS.names


@pytest.mark.long
def test_a_killed_detection_resumes_with_the_same_result(noisy):
    """Killed at several times and restarted; the table is that of an uninterrupted run."""
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
def test_flow_artifacts_contain_no_texts(noisy, prefect, monkeypatch):
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
