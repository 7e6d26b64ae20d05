"""A whole evaluation of a small workload: candidates, the chosen estimator, ceiling, pages."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr

from benchmarks.fidelity.ceilings import add_ceilings
from benchmarks.fidelity.chosen import Chosen
from benchmarks.fidelity.estimators import NAMES
from benchmarks.fidelity.judge import FidelityEvaluation
from benchmarks.fidelity.methods import Answer
from benchmarks.fidelity.report import build_pages
from benchmarks.fidelity.titanic import TitanicMlp
from benchmarks.fidelity.truth import measure_ceiling, measure_truth
from benchmarks.fidelity.workload import PARTS
from benchmarks.fidelity.workloads import WORKLOADS
from tasks.results.estimator import name_estimator

MACHINE = {"date": "", "processor": "", "cores": 1, "versions": {"torch": ""}}


@dataclass(frozen=True, eq=False)
class SmallTitanic(TitanicMlp):
    rows: int = 48
    queries: int = 8
    subsets: int = 6
    seeds: int = 1


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> FidelityEvaluation:
    folder = tmp_path_factory.mktemp("work") / "titanic"
    return FidelityEvaluation(SmallTitanic(Path()), folder, with_peers=False)


@pytest.fixture(scope="module")
def result(evaluation) -> dict:
    return json.loads(json.dumps(evaluation.result())) | {"machine": MACHINE}


def render_pages(result: dict) -> dict[str, str]:
    pages = build_pages({"workloads": {"titanic-mlp": result}})
    return {page.name: page.render() for page in pages}


@pytest.mark.long
def test_every_checkpoint_is_a_candidate(result):
    for part in PARTS:
        for name in ("exact", "gradient cosine"):
            assert f"{name}, at {part:g} of the training" in result["methods"]
    assert len({method["lds"] for method in result["methods"].values()}) > 5
    assert result["peers"] == {}
    for name in ("influence, mean of the final weights and checkpoint-0.25", "to the power 0.5"):
        assert any(name in method for method in result["methods"])


@pytest.mark.long
def test_a_candidate_is_scored_against_both_sets_of_seeds(evaluation, result):
    workload = evaluation.workload
    model = workload.train_model(0)
    effect = torch.stack(
        [
            torch.stack([cosine(model, workload, q, i) for i in range(workload.rows)])
            for q in range(workload.queries)
        ]
    )
    sums = torch.stack([effect[:, half].sum(1) for half in workload.halves])
    sets = [
        workload.train_on_subsets(workload.halves, [seed], workload.query_examples)
        for seed in (1000, 2000)
    ]
    each = [spearmanr(sums[:, q], outcomes[:, q]).statistic for outcomes in sets for q in range(8)]
    assert result["methods"]["gradient cosine"]["lds"] == pytest.approx(sum(each) / 16, abs=1e-6)
    assert result["ceiling"] == pytest.approx(asdict(measure_ceiling(*sets)))


def cosine(model, workload, query: int, row: int) -> torch.Tensor:
    """Cosine of two gradients by autograd, in double precision."""
    module, rows = model.module.double(), []
    pairs = ((workload.query_examples, query), (workload.train, row))
    for examples, at in pairs:
        module.zero_grad()
        outputs = module(examples.inputs[at : at + 1].double())
        torch.nn.functional.cross_entropy(outputs, examples.labels[at : at + 1]).backward()
        rows.append(torch.cat([p.grad.flatten() for p in module.parameters()]))
    return torch.nn.functional.cosine_similarity(*rows, dim=0)


@pytest.mark.long
def test_the_page_has_the_ceiling_and_the_shares(result):
    pages = {
        page.name: page.render() for page in build_pages({"workloads": {"titanic-mlp": result}})
    }
    ceiling, exact = result["ceiling"]["value"], result["methods"]["exact"]
    page = pages["fidelity-titanic"]
    assert f"Ceiling: {ceiling:.3f} (" in page
    share = f"{exact['lds'] / ceiling:.1%}".replace("%", " %")
    assert f"| {exact['lds']:.3f} ± {exact['error']:.3f} | {share} |" in page
    assert "| not measured |" in pages["fidelity"]  # other packages
    assert "best fixed choice - 0.01" in pages["fidelity"]


@pytest.mark.long
def test_the_choice_is_that_of_the_product_on_other_halves_and_queries(evaluation, result):
    trials = evaluation.trials
    chosen = trials.selection.estimator
    assert result["chosen"]["name"] == name_estimator(chosen, NAMES)
    assert f"{trials.selection.held_out:.2f} (" in result["chosen"]["reason"]
    truth_halves = {tuple(half.tolist()) for half in evaluation.workload.halves}
    assert not truth_halves & {tuple(half.tolist()) for half in trials.halves}
    candidates = {**trials.list_others(), "exact": trials.estimators[0]}
    same = next(name for name, e in candidates.items() if len(e.models) == 2 and e.power == 1)
    estimator = candidates[same]
    files = ["exact", *(f"exact-at-{part:g}-of-the-training" for part in PARTS)]
    effects = [load_file(evaluation.folder / f"{f}.safetensors")["effect"] for f in files]
    mean = torch.stack([effects[place] for place in estimator.models]).double().mean(0)
    control = torch.stack([trials.models[place][1].effects for place in estimator.models])
    scores = mean / control.mean(0).double().norm(dim=0)  # the median is a positive multiple
    expected = float(evaluation.truth.score(scores).mean())
    assert result["methods"][same]["lds"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.long
def test_the_chosen_estimator_is_shown_with_its_reason(evaluation, monkeypatch):
    perfect = evaluation.truth.sets["A"].T @ _indicators(evaluation.workload)
    choice = Chosen("oracle", "It knows.", Answer(perfect, {}, 1.0))
    monkeypatch.setattr(evaluation.trials, "choose", lambda: choice)
    (evaluation.folder / "chosen.json").unlink()
    result = evaluation.result() | {"machine": MACHINE}
    assert result["chosen"]["name"] == "oracle"
    expected = evaluation.truth.score(perfect.float()).mean()
    assert result["chosen"]["lds"] == pytest.approx(float(expected))
    pages = {
        page.name: page.render() for page in build_pages({"workloads": {"titanic-mlp": result}})
    }
    assert "**Chosen by the product.** oracle: LDS" in pages["fidelity-titanic"]
    assert "It knows." in pages["fidelity-titanic"]
    assert f"| oracle: {result['chosen']['lds']:.3f} |" in pages["fidelity"]
    best = max(method["lds"] for method in result["methods"].values())
    word = "reached" if result["chosen"]["lds"] >= best - 0.01 else "**not reached**"
    assert f"at least {best - 0.01:.3f}, {word}" in pages["fidelity"]


def _indicators(workload) -> torch.Tensor:
    rows = torch.zeros(len(workload.halves), workload.rows, dtype=torch.float64)
    for row, half in zip(rows, workload.halves, strict=True):
        row[half] = 1
    return rows - 0.5


def test_ceilings_are_added_only_where_all_seeds_are_complete(tmp_path, monkeypatch):
    workload = SmallTitanic(Path(), seeds=2)
    monkeypatch.setitem(WORKLOADS, "titanic-mlp", lambda data: workload)
    known = {"workloads": {"titanic-mlp": {"seeds": 2, "ceiling": None}}}
    measure_truth(workload, tmp_path / workload.key, 1)
    assert add_ceilings(known, Path(), tmp_path)["workloads"]["titanic-mlp"]["ceiling"] is None
    truth = measure_truth(workload, tmp_path / workload.key, 2)
    added = add_ceilings(known, Path(), tmp_path)["workloads"]["titanic-mlp"]["ceiling"]
    assert added == pytest.approx(asdict(truth.ceiling))
