"""Rows that are worth a review: those whose labels may be wrong, and all if they are asked for."""

import polars as pl
import pytest
from command_line import invoke as run

from tasks.data.inputs import read_inputs
from tasks.mislabels.doubtful_rows import MIN_PROBABILITY, select_doubtful
from tasks.mislabels.results import read_current_result
from tasks.mislabels.stored_samples import read_samples
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def test_rows_that_are_almost_certainly_right_are_left_out():
    probability = [0.9, MIN_PROBABILITY, MIN_PROBABILITY / 2, 6e-14, None]
    rows = select_doubtful(pl.DataFrame({"probability": probability}))
    assert rows["probability"].to_list() == [0.9, MIN_PROBABILITY, None]


def test_an_export_leaves_certain_labels_out_unless_a_number_is_asked_for(searched, tmp_path):
    study = searched / "study.toml"
    store = open_existing_store(load_study(study))
    (digest,) = store.find_artifacts("mislabels")
    table = read_current_result(store, read_inputs(study)).table
    certain = table.with_columns(
        probability=pl.when(pl.col("rank") < 3).then(0.5).otherwise(1e-9).cast(pl.Float32)
    )
    _rewrite(store, digest, certain.drop("group_kind", strict=False))
    option = ("--study", study, "--out")
    done = run("review", "export", *option, tmp_path / "few.csv")
    assert done.exit_code == 0, done.output
    few = pl.read_csv(tmp_path / "few.csv")
    assert 1 <= len(few) <= 3
    assert f"Rows to review: {len(few)}" in done.output
    assert "Left out:" in done.output
    done = run("review", "export", *option, tmp_path / "ten.csv", "--budget", 10)
    assert len(pl.read_csv(tmp_path / "ten.csv")) == 10, done.output
    assert "Left out" not in done.output
    _rewrite(store, digest, certain.with_columns(probability=pl.lit(1e-9, pl.Float32)))
    done = run("review", "export", *option, tmp_path / "none.csv")
    assert done.exit_code == 2
    assert "--random 100" in done.output
    assert not (tmp_path / "none.csv").exists()


def _rewrite(store, digest, table):
    """Replace the table of a search, as another search would have written it."""
    folder = store.find_artifact("mislabels", digest)
    facts = (folder / "facts.json").read_bytes()

    def write(new):
        table.write_parquet(new / "mislabels.parquet")
        (new / "facts.json").write_bytes(facts)

    store.remove_artifact("mislabels", digest)
    store.write_artifact("mislabels", digest, write)


@pytest.mark.parametrize("words", [("review", "export"), ("export", "mislabels")])
def test_no_search_yet_is_said(finished, tmp_path, words):
    done = run(*words, "--study", finished / "study.toml", "--out", tmp_path / "x.csv")
    assert done.exit_code == 2
    assert "fastif mislabels" in done.output


def test_a_sample_that_cannot_be_written_is_not_recorded(searched):
    store = open_existing_store(load_study(searched / "study.toml"))
    to = searched / "train.csv" / "drawn.csv"
    done = run("review", "export", "--random", "5", "--study", searched / "study.toml", "-o", to)
    assert done.exit_code == 2, done.output
    assert not read_samples(store)
    done = run(
        "review", "export", "--random", "5", "--study", searched / "study.toml",
        "--out", searched / "drawn.csv",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (sample,) = read_samples(store)
    assert len(sample.sampled_rows) == 5
