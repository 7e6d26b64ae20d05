"""Published truth: written and read, and the seeds that it spares."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks.fidelity.publish import render_card
from benchmarks.fidelity.published import (
    FILES,
    PublishedTruth,
    read_published,
    restore_seeds,
    write_published,
)
from benchmarks.fidelity.titanic import TitanicMlp
from benchmarks.fidelity.truth import FIRST_SEEDS as SEEDS
from benchmarks.fidelity.truth import Truth, measure_truth, seed_path


@pytest.fixture
def margins() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=(5, 3)) for name in "AB"}


def test_a_truth_is_read_as_it_was_written_and_has_no_texts(tmp_path, margins):
    workload = TitanicMlp(Path(), rows=12, queries=3, subsets=5)
    sets = {name: torch.from_numpy(values) for name, values in margins.items()}
    truth = Truth.from_seeds(workload.halves, {SEEDS[name]: sets[name] for name in sets})
    known = {"methods": {"exact": {"lds": 0.5, "error": 0.1}}, "peers": {"broken": {"failure": ""}}}
    assert PublishedTruth.of(workload, truth, known | {"seeds": 5}).facts["methods"] == []
    known |= {"seeds": 1, "sets": ["A", "B"]}
    published = PublishedTruth.of(workload, truth, known)
    write_published(published, tmp_path / "titanic-mlp")
    again = read_published(tmp_path / "titanic-mlp")
    assert list(again.train_ids) == workload.train_ids
    assert list(again.query_ids) == workload.query_ids
    assert again.labels[0] == workload.train.labels.tolist()
    assert all(map(torch.equal, again.truth.halves, workload.halves))
    for name, values in sets.items():
        torch.testing.assert_close(again.truth.sets[name], values.float().double())
    assert [method["name"] for method in again.facts["methods"]] == ["exact"]
    columns = {
        name: tuple(pl.read_parquet(tmp_path / "titanic-mlp" / name).columns) for name in FILES
    }
    assert columns == FILES
    card = render_card([again])
    assert workload.licence in card
    assert "| `titanic-mlp` | 12 | 3 | 5 | 1 |" in card


def test_published_seeds_are_not_trained_again(tmp_path, margins):
    """Restored are the seeds that are missing, of the same halves and recipe only."""
    workload = TitanicMlp(Path(), rows=12, queries=3, subsets=5)
    by_seed = {SEEDS[name]: torch.from_numpy(values) for name, values in margins.items()}
    published = PublishedTruth.of(workload, Truth.from_seeds(workload.halves, by_seed), {})
    write_published(published, tmp_path / "truth" / workload.name)
    work = tmp_path / "work"
    assert restore_seeds(workload, tmp_path / "truth", work) == 2
    assert restore_seeds(workload, tmp_path / "truth", work) == 0
    trained = []
    truth = measure_truth(workload, work / workload.key, 1, trained.append)
    assert trained == []
    for seed, values in by_seed.items():
        torch.testing.assert_close(truth.by_seed[seed], values.float().double())
    seed_path(work / workload.key, 2000).unlink()
    assert restore_seeds(workload, tmp_path / "truth", work) == 1
    other = TitanicMlp(Path(), rows=12, queries=3, subsets=6)
    assert restore_seeds(other, tmp_path / "truth", work) == 0
    table = tmp_path / "truth" / workload.name / "train.parquet"
    relabelled = pl.read_parquet(table).with_columns(label=1 - pl.col("label"))
    relabelled.write_parquet(table)
    seed_path(work / workload.key, 2000).unlink()
    assert restore_seeds(workload, tmp_path / "truth", work) == 0
