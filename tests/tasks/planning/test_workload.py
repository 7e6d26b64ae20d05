"""Work, memory and disk follow from the sizes of a workload, which are those of the run."""

import re
from dataclasses import replace

import pytest
import tiny
import workloads
from safetensors.torch import load_file

from tasks.planning.cost_model import count_passes, estimate_work
from tasks.planning.disk import estimate_disk_usage
from tasks.planning.forecast import forecast_workload
from tasks.planning.memory import estimate_peak_memory
from tasks.planning.open_run import load_run
from tasks.planning.workload import HiddenStates, Sizes, make_workload
from tasks.run.spec import plan_run
from tasks.study.index_cost import PendingIndex

CG = {"kind": "cg"}


def _forecast(workload):
    return forecast_workload(workload, workloads.RATES)


def test_the_sizes_of_a_workload_are_those_of_its_files(world):
    rows = {name: tiny.rows_of(world / f"{name}.csv") for name in ("train", "queries")}
    study = tiny.write_study(
        world, curvature={"rows": 23}, certificate={"rows": 9}, run={"prefix_cache_mb": 3}
    )
    context = load_run(plan_run(study))
    shards = context.plan.record.list_shards()
    workload = make_workload(context, shards[1:])

    for table, name in ((workload.train, "train"), (workload.queries, "queries")):
        texts = [row["text"] for row in rows[name]]
        assert table.rows == len(texts)
        # Each word or punctuation mark is one token, between [CLS] and [SEP].
        counts = [len(re.findall(r"\w+|[^\w\s]", text)) + 2 for text in texts]
        assert table.tokens == sum(min(count, tiny.MAX_LENGTH) for count in counts)
        assert table.characters == sum(map(len, texts))
    weights = load_file(world / "model" / "model.safetensors")
    parts = ("layer.2.", "pooler", "classifier")  # the last layer and the head
    attributed = [weights[name] for name in weights if any(part in name for part in parts)]
    assert workload.model.count == 1
    assert workload.model.nbytes == 4 * sum(tensor.numel() for tensor in weights.values())
    assert workload.model.token_bytes == 4 * workload.model.embedding_width == 4 * 12
    matrices = sorted(tuple(tensor.shape) for tensor in attributed if tensor.ndim == 2)
    assert sorted(workload.model.layer_shapes) == matrices
    problem = workload.problem
    assert problem.parameters == sum(tensor.numel() for tensor in attributed)
    assert (problem.train, problem.rows, problem.rows_per_example) == (tiny.TRAIN, 23, 1)
    assert (problem.batch_size, problem.is_hessian) == (16, False)
    assert workload.certificate_rows == 9
    assert workload.sizes == Sizes(5, 16, 3)
    remaining = workload.remaining
    assert (remaining.planned_shards, remaining.shards, remaining.queries) == (4, 3, 12)
    assert (remaining.new_shards, remaining.new_queries) == (3, 12)
    assert (remaining.train_rows, remaining.is_continued) == (tiny.TRAIN, False)
    prepared = workload.prepared
    assert prepared.indices == (PendingIndex(tiny.TRAIN),)
    assert (prepared.missing_factors, prepared.has_train_table) == (1, False)
    assert (prepared.has_damping, prepared.has_k) == (True, True)
    assert workload.hidden == HiddenStates(tiny.TRAIN + tiny.QUERIES, 0.0, 0), "all in memory"


@pytest.mark.long
def test_artifacts_of_an_earlier_run_are_not_counted_again(world):
    study = tiny.write_study(world)
    tiny.run_directly(study)
    context = load_run(plan_run(study))
    workload = make_workload(context, ())
    assert workload.prepared.indices == (PendingIndex(0, has_list=True),)
    assert (workload.prepared.missing_factors, workload.prepared.has_train_table) == (0, True)
    assert set(_forecast(workload).stages.values()) == {0.0}
    assert _forecast(workload).disk == 0


def test_pairs_queries_and_shards_of_a_fresh_study():
    states = HiddenStates(workloads.TRAIN + workloads.QUERIES)
    estimate = _forecast(replace(workloads.make(), hidden=states))
    assert (estimate.shards, estimate.queries, estimate.pairs) == (4, 17, 17 * 12)
    not_needed = {"damping"}  # set by the study
    not_needed |= {"certificate", "score"}  # computed by the solve
    for name, seconds in estimate.stages.items():
        assert (seconds == 0) == (name in not_needed), name
    assert estimate.seconds == pytest.approx(sum(estimate.stages.values()))


def test_pairs_of_a_full_scan_are_the_stored_ones():
    for keep, pairs in ((9, 17 * 18), (100, 17 * 60)):
        workload = workloads.make({"kind": "full", "keep": keep})
        assert _forecast(workload).pairs == pairs


def test_a_solver_without_a_factor_has_no_factor_work():
    assert estimate_work(workloads.make(solver=CG))["curvature"].gradients == 0


def test_scores_by_sketches_need_no_solves():
    sketch = {"kind": "sketch", "k": 12, "dimensions": 40, "width": 2048}
    estimate = _forecast(workloads.make(sketch | {"rescore": False, "check": 0}))
    nothing = ("curvature", "certificate", "score", "recall")
    assert [estimate.stages[name] for name in nothing] == [0.0] * 4
    assert estimate.stages["index"] > 0
    assert _forecast(workloads.make(sketch, curvature_rows=30)).stages["score"] > 0


def test_several_models_need_more_memory_for_equal_pairs():
    alone, three = (_forecast(workloads.make(models=models)) for models in (1, 3))
    assert three.pairs == alone.pairs
    assert three.memory > alone.memory + 2 * workloads.make().model.nbytes


def test_uncached_hidden_states_are_recomputed():
    workload = workloads.make(solver=CG)
    half = replace(workload, hidden=HiddenStates(20, recomputed_share=0.5))
    kept, halved = _forecast(workload).stages, _forecast(half).stages
    assert halved["hidden states"] == 20
    assert halved["predictions"] == 1.5 * kept["predictions"], "half a pass more a row"


def test_passes_are_counted_by_model():
    alone, three = (count_passes(workloads.make(solver=CG, models=models)) for models in (1, 3))
    # Every model repeats all but the predictions of the rows and the index.
    assert alone - 2 == pytest.approx(three - 2 / 3)
    assert alone > 2


def test_the_selection_of_the_damping_is_forecast_once():
    chosen = replace(workloads.make(), training_epochs=2)
    pending = replace(chosen, prepared=replace(chosen.prepared, has_damping=False))
    assert estimate_work(chosen)["damping"].forwards == 0
    # 3 forward passes a step, halves of 60 rows, 2 epochs each
    trainings = estimate_work(pending)["damping"].forwards / (3 * 2 * 30)
    assert trainings == int(trainings) > 1
    assert estimate_peak_memory(pending) >= estimate_peak_memory(chosen)


def test_bytes_of_scores_texts_and_totals():
    workload = workloads.make({"kind": "full", "totals": False}, solver=CG)
    sums = workloads.make({"kind": "full", "totals": True}, solver=CG)
    base = estimate_disk_usage(workload, 0)
    assert base == (60 * 20 + 17 * 20) // 2, "texts only"
    assert estimate_disk_usage(workload, 100) > base
    assert estimate_disk_usage(sums, 0) - base == 4 * 60 * 20
    described = replace(workload, prepared=replace(workload.prepared, has_train_table=True))
    assert estimate_disk_usage(described, 0) == 17 * 20 // 2


BEYOND = {
    "shard_size": [{"shard_size": size} for size in (workloads.QUERIES, 10**9, 2)],
    "batch_size": [{"batch_size": size} for size in (workloads.TRAIN, 10**9, 2)],
    "keep": [{"candidates": {"kind": "full", "keep": n}} for n in (workloads.TRAIN, 10**9, 2)],
    "rank of scores": [
        {"candidates": {"kind": "full", "rank": rank}, "solver": CG} for rank in (12, 10**9, 2)
    ],
    "dimensions": [
        {"candidates": {"kind": "sketch", "k": 9, "dimensions": n}}
        for n in (workloads.TRAIN, 2**40, 2)
    ],
    "check": [
        {"candidates": {"kind": "knn", "k": 9, "check": n}} for n in (workloads.QUERIES, 10**9, 2)
    ],
    "certificate": [
        {"certificate_rows": n, "curvature_rows": 9} for n in (workloads.TRAIN, 10**9, 2)
    ],
    "block_rows": [{"solver": {"kind": "dual", "block_rows": n}} for n in (64, 10**9, 2)],
    "rank of a kernel": [
        {"solver": {"kind": "dual", "rank": n}} for n in (workloads.TRAIN, 10**6, 2)
    ],
}


@pytest.mark.parametrize("case", BEYOND.values(), ids=list(BEYOND))
def test_sizes_above_the_number_of_rows_do_not_change_the_forecast(case):
    """At equal rates; sizes below the number of rows give another forecast."""
    results = []
    for settings in case:
        estimate = _forecast(workloads.make(**settings))
        results.append((estimate.stages, estimate.pairs, estimate.memory, estimate.disk))
    assert results[0] == results[1] != results[2]
