"""Truth by seed: resumed, extended, scored against both sets of seeds, with a ceiling by hand."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr

import fastif
from benchmarks.fidelity import truth
from benchmarks.fidelity.titanic import TitanicMlp, read_passengers
from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads import WORKLOADS


@dataclass(frozen=True, eq=False)
class SmallTitanic(TitanicMlp):
    rows: int = 40
    queries: int = 6
    subsets: int = 5
    seeds: int = 1

    @cached_property
    def trained(self) -> list[int]:
        """Seeds that were trained in this process."""
        return []

    def train_on_subsets(self, halves, seeds, queries):
        self.trained.extend(seeds)
        return super().train_on_subsets(halves, seeds, queries)


@pytest.fixture
def workload() -> SmallTitanic:
    return SmallTitanic(Path())


def test_seeds_are_trained_once_and_a_truth_can_be_extended(workload, tmp_path):
    first = truth.measure_truth(workload, tmp_path, 1)
    assert workload.trained == [1000, 2000]
    more = truth.measure_truth(workload, tmp_path, 2)
    assert workload.trained == [1000, 2000, 1001, 2001]
    assert (first.seeds, more.seeds) == (1, 2)
    paths = {seed: truth.seed_path(tmp_path, seed) for seed in (1000, 1001)}
    runs = {seed: load_file(path)["margins"] for seed, path in paths.items()}
    torch.testing.assert_close(first.sets["A"], runs[1000].double())
    torch.testing.assert_close(more.sets["A"], torch.stack(list(runs.values())).double().mean(0))
    assert not torch.equal(more.sets["A"], more.sets["B"])


def test_a_truth_is_the_mean_of_separate_trainings(workload, tmp_path):
    margins = truth.measure_truth(workload, tmp_path, 1).sets["A"]
    half, answers = workload.halves[3], workload.query_examples.labels
    torch.manual_seed(0)  # trainings depend on their own seed alone
    model = workload._objective(workload._fit([half], [1000]))
    chances = fastif.predict(model, workload.query_examples)[0].double().softmax(1)
    right = chances[torch.arange(6), answers]
    torch.testing.assert_close(margins[3], (right / (1 - right)).log(), rtol=1e-4, atol=1e-4)


def test_sets_of_unequal_size_are_cut_to_the_seeds_that_both_have(workload, tmp_path):
    truth.measure_truth(workload, tmp_path, 2)
    truth.seed_path(tmp_path, 2001).unlink()
    known = truth.read_truth(workload.halves, tmp_path, 2)
    assert (known.seeds, sorted(known.sets)) == (1, ["A", "B"])
    truth.seed_path(tmp_path, 2000).unlink()
    alone = truth.read_truth(workload.halves, tmp_path, 2)
    assert (alone.seeds, sorted(alone.sets), alone.ceiling) == (2, ["A"], None)


def test_the_score_is_the_mean_over_both_sets():
    generator = torch.Generator().manual_seed(0)
    halves = [torch.randperm(30, generator=generator)[:15] for _ in range(8)]
    sets = {name: torch.randn(8, 3, generator=generator).double() for name in "AB"}
    effect = torch.randn(3, 30, generator=generator)
    scores = truth.Truth(halves, sets, 1, {}).score(effect)
    for query in range(3):
        sums = [float(effect[query, half].sum()) for half in halves]
        each = [spearmanr(sums, sets[name][:, query]).statistic for name in "AB"]
        assert float(scores[query]) == pytest.approx(sum(each) / 2, abs=1e-12)


def test_the_ceiling_is_the_root_of_the_agreement_by_hand():
    # ranks 1234 against 1243: 1 - 6·2/60 = 0.8; against 2143: 1 - 6·4/60 = 0.6
    first = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])
    second = torch.tensor([[1.0, 2.0], [2.0, 1.0], [4.0, 4.0], [3.0, 3.0]])
    ceiling = truth.measure_ceiling(first, second)
    assert ceiling.agreement == pytest.approx(0.7)
    assert ceiling.value == pytest.approx(0.7**0.5)
    assert ceiling.low < ceiling.value < ceiling.high == 1


@pytest.mark.long
def test_a_predictor_without_noise_reaches_the_ceiling():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(400, 60, generator=generator).double()
    sets = [signal + torch.randn(400, 60, generator=generator) for _ in range(2)]
    reached = torch.stack([truth.spearman(signal.T, noisy.T).mean() for noisy in sets]).mean()
    ceiling = truth.measure_ceiling(*sets)
    assert ceiling.low < float(reached) < ceiling.high
    assert ceiling.value == pytest.approx(0.5**0.5, abs=0.03)  # equal variances of both parts
    assert ceiling.high - ceiling.low < 0.06


def test_every_workload_states_its_source_and_licence():
    for make in WORKLOADS.values():
        assert isinstance(make(Path()), Workload)
        assert len(make.source.split()) > 3
        assert make.licence


def test_a_tenth_of_the_training_labels_of_titanic_is_flipped(workload):
    survived = dict(read_passengers().select("id", "survived").iter_rows())
    given = workload.train.labels.tolist()
    differing = [int(survived[i]) != g for i, g in zip(workload.train_ids, given, strict=True)]
    assert sum(differing) == 4
    labels = workload.query_examples.labels.tolist()
    assert [int(survived[i]) for i in workload.query_ids] == labels
    assert not set(workload.query_ids) & set(workload.train_ids)
