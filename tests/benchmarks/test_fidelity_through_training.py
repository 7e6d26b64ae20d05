"""The experiment through the training: retrainings of the same order, and their agreement."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

import fastif
from benchmarks.fidelity import through_training
from benchmarks.fidelity.texts import RECIPE
from benchmarks.fidelity.through_page import through_training_page
from benchmarks.fidelity.through_training import SWEEPS, ThroughTraining, retrain_in_order
from benchmarks.fidelity.titanic import TitanicMlp
from fastif.unrolled.retraining_agreement import draw_subsets, retrain_without


@dataclass(frozen=True, eq=False)
class SmallTitanic(TitanicMlp):
    rows: int = 96
    queries: int = 50
    subsets: int = 2


@pytest.fixture
def experiment(tmp_path) -> ThroughTraining:
    return ThroughTraining(SmallTitanic(Path()), tmp_path / "work", retrainings=5)


def test_the_order_is_repeated_by_the_optimiser_of_torch(experiment):
    objective, record = experiment.trained
    train, start = experiment.workload.train, experiment.workload.start(0)
    same = retrain_in_order(record, start, train, torch.tensor([], dtype=torch.long))
    for name, tensor in objective.params.items():
        torch.testing.assert_close(same[name], tensor, rtol=0, atol=0)
    without = torch.tensor([0, 7, 50])
    again = retrain_in_order(record, start, train, without)
    for name, tensor in retrain_without(record, start, train, without).items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-5, atol=1e-7)
        assert not torch.equal(again[name], objective.params[name])


def test_the_agreement_is_that_of_scipy_with_retrainings_by_hand(experiment):
    result = experiment.result()
    workload, (_, record) = experiment.workload, experiment.trained
    subsets = draw_subsets(96, 0.5, 5, seed=through_training.SEED)
    losses = []
    for ids in subsets:
        model = workload.start(0)
        model.params = retrain_without(record, workload.start(0), workload.train, ids)
        losses.append(fastif.predict(model, experiment.queries)[1])
    for name in SWEEPS:
        effect = experiment.effects(name)[0]
        each = [
            spearmanr(
                [float(effect[q, ids].double().sum()) for ids in subsets],
                [float(loss[q]) for loss in losses],
            ).statistic
            for q in range(len(effect))
        ]
        measured = result["shares"]["0.5"]["methods"][name]["spearman"]
        assert measured == pytest.approx(sum(each) / len(each), abs=0.01)  # ties of rounding
    few = result["shares"]["0.05"]["methods"]["through the training"]["spearman"]
    assert few > 0.9
    assert result["steps"] == RECIPE.count_steps(96)


def test_finished_parts_are_reused_and_the_page_shows_all_methods(experiment):
    result = experiment.result()
    paths = sorted(experiment.folder.iterdir())
    times = [path.stat().st_mtime_ns for path in paths if path.name != "training.json"]
    again = ThroughTraining(experiment.workload, experiment.folder, retrainings=5).result()
    assert times == [p.stat().st_mtime_ns for p in paths if p.name != "training.json"]
    assert again["shares"] == result["shares"]
    machine = {"date": "", "processor": "", "cores": 1, "versions": {"torch": ""}}
    page = through_training_page({**result, "machine": machine}).render()
    for name in result["seconds"]:
        assert f"\n| {name} |" in page
        assert math.isfinite(result["seconds"][name])
