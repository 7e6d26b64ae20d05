"""Precision of scores: set, or selected on the study's own rows, kept, reported, never mixed."""

import json

import pytest
import tiny

from tasks.audit.attribute import attribute_shard
from tasks.audit.in_process import audit_in_process
from tasks.audit.prepare import describe_train, factor_curvature
from tasks.audit.select_precision import choose_precision
from tasks.planning import score_precision
from tasks.results.summary import read_summary
from tasks.run.selections import PRECISION
from tasks.run.spec import list_missing_shards, open_store, plan_run
from tasks.study.errors import StudyError
from tasks.study.study import load_study

FULL = {"kind": "full", "keep": 30, "totals": False}
SETTINGS = {"candidates": FULL, "solver": {"kind": "direct"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision") / "made"
    tiny.make(folder)
    return folder


@pytest.fixture
def any_work(monkeypatch):
    """Scores of any number are worth a trial, on a processor with bfloat16."""
    monkeypatch.setattr(score_precision, "MIN_PRODUCTS", 0)
    monkeypatch.setattr(score_precision, "list_precisions", lambda device: ("bf16",))


def _study(world, name, **changes):
    return tiny.write_study(world, **{**SETTINGS, "store": {"path": name}, **changes})


def _audit(study):
    return audit_in_process(plan_run(study))


def _read_selection(store, run):
    columns = store.scan("runs", run).collect()
    return PRECISION.parse_column(columns["candidates"].item())


def _read_rounding(store, run):
    return store.scan("solves", run).collect()["rounding"]


@pytest.mark.long
def test_few_scores_stay_in_single_precision_and_leave_no_trace(world):
    store, run = _audit(_study(world, "few"))
    assert _read_selection(store, run) is None
    assert _read_rounding(store, run).null_count() == tiny.QUERIES
    single, name = _audit(_study(world, "single", run={"shard_size": 5, "precision": "single"}))
    assert name != run
    expected = tiny.scores_by_id(single, name).drop("run", strict=False)
    assert tiny.scores_by_id(store, run).drop("run", strict=False).equals(expected)


def test_a_precision_that_agrees_is_selected_once_and_told(world, any_work, monkeypatch):
    study = _study(world, "auto")
    store, run = _audit(study)
    selection = _read_selection(store, run)
    (trial,) = selection.trials
    set_store, set_run = _audit(
        _study(world, "set", run={"shard_size": 5, "precision": "bf16", "batch_size": 16})
    )
    assert 0.9 < trial.agreement <= 1
    assert selection.precision == ("bf16" if trial.agreement >= 0.999 else "single")
    if selection.precision == "bf16":
        expected = tiny.scores_by_id(set_store, set_run)["removal_effect"]
        assert tiny.scores_by_id(store, run)["removal_effect"].equals(expected)
    evidence = dict(read_summary(store, run, study).evidence)
    assert f"{trial.agreement:.4f}" in evidence["precision chosen"]
    rounding = _read_rounding(set_store, set_run)
    assert rounding.null_count() == 0
    least = dict(read_summary(set_store, set_run, study).evidence)["scores in reduced precision"]
    assert f"{rounding.min():.4f}" in least


@pytest.mark.long
@pytest.mark.parametrize("limit", [0.0, pytest.param(2.0, marks=pytest.mark.long)])
def test_a_resumed_run_keeps_the_selection_on_any_machine(world, any_work, monkeypatch, limit):
    monkeypatch.setattr("fastif.evaluation.select_precision.MIN_AGREEMENT", limit)
    study = _study(world, f"resumed-{limit:g}")
    plan = plan_run(study)
    store, ref = open_store(plan), plan.ref
    for prepare in (describe_train, factor_curvature, choose_precision):
        prepare.fn(ref)
    attribute_shard.fn(list_missing_shards(store, ref.run)[0], ref)
    monkeypatch.setattr(score_precision, "list_precisions", lambda device: ())
    resumed, run = _audit(study)
    selected = _read_selection(resumed, run).precision
    assert selected == ("single" if limit else "bf16")
    undisturbed = _study(
        world, f"whole-{limit:g}", run={"shard_size": 5, "precision": selected, "batch_size": 16}
    )
    whole, other = _audit(undisturbed)
    effects = tiny.scores_by_id(whole, other)["removal_effect"]
    assert tiny.scores_by_id(resumed, run)["removal_effect"].equals(effects)


@pytest.mark.long
def test_a_run_with_shards_from_before_the_choice_stays_in_single_precision(world, any_work):
    study = _study(world, "older")
    plan = plan_run(study)
    store, ref = open_store(plan), plan.ref
    describe_train.fn(ref)
    factor_curvature.fn(ref)
    attribute_shard.fn(list_missing_shards(store, ref.run)[0], ref)
    again, run = _audit(study)
    assert _read_selection(again, run) is None
    assert _read_rounding(again, run).null_count() == tiny.QUERIES


@pytest.mark.long
@pytest.mark.parametrize("root_selects", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_night_that_continues_has_the_precision_of_its_root(
    world, tmp_path, any_work, monkeypatch, root_selects
):
    monkeypatch.setattr("fastif.evaluation.select_precision.MIN_AGREEMENT", 0.0)
    folder = tiny.copy(world, tmp_path / "night")
    study = _study(folder, "nights", carry={"least": 0.5})
    if not root_selects:
        monkeypatch.setattr(score_precision, "MIN_PRODUCTS", 1e30)
    _audit(study)
    monkeypatch.setattr(score_precision, "MIN_PRODUCTS", 0)
    rows = tiny.rows_of(folder / "queries.csv")
    tiny.write_rows(
        folder / "queries.csv", [*rows, {**rows[0], "id": "new", "text": "not very dull"}]
    )
    store, run = _audit(study)
    record = json.loads(store.scan("runs", run).collect()["candidates"].item())
    assert record["carried"]["queries"] == tiny.QUERIES
    selection = _read_selection(store, run)
    assert (selection is not None) == root_selects
    rounding = _read_rounding(store, run)
    assert rounding.null_count() == (0 if root_selects else len(rounding))


@pytest.mark.long
def test_several_models_have_one_precision(world, any_work, monkeypatch):
    monkeypatch.setattr("fastif.evaluation.select_precision.MIN_AGREEMENT", 0.0)
    if not (world / "other").exists():
        tiny.make_other(world, "other", 5)
    study = _study(world, "several", top={"models": ["other"]})
    store, run = _audit(study)
    assert _read_selection(store, run).precision == "bf16"
    solves = store.scan("solves", run).collect()
    assert solves["rounding"].null_count() == 0
    assert solves["agreement"].null_count() == 0


@pytest.mark.long
def test_scores_of_the_solve_need_no_precision(world, any_work):
    study = _study(world, "dual", solver={"kind": "dual"})
    store, run = _audit(study)
    assert _read_selection(store, run) is None
    assert _read_rounding(store, run).null_count() == tiny.QUERIES


@pytest.mark.long
@pytest.mark.parametrize("kind", ["knn", pytest.param("sketch", marks=pytest.mark.long)])
def test_candidates_are_rescored_in_the_precision(world, kind):
    candidates = {"kind": kind, "k": 12, "check": 3}
    stores = {}
    for precision in ("single", "bf16"):
        run = {"shard_size": 5, "precision": precision}
        study = _study(world, f"{kind}-{precision}", candidates=candidates, run=run)
        stores[precision] = _audit(study)
    low, single = (tiny.scores_by_id(*stores[name]) for name in ("bf16", "single"))
    both = low.join(single, on=["query_id", "train_id"], suffix="_single")
    assert len(both) == len(low) == len(single)
    effects = both.select("removal_effect", "removal_effect_single").to_numpy().T
    assert not (effects[0] == effects[1]).all()
    assert abs(effects[0] - effects[1]).max() < 0.05 * abs(effects[1]).max()
    recall = [json.loads(s.scan("runs", r).collect()["recall"].item()) for s, r in stores.values()]
    assert recall[0][0]["queries"] == recall[1][0]["queries"]


@pytest.mark.parametrize(
    ("candidates", "precision", "place"),
    [
        ({**FULL, "precision": "bfloat16"}, "single", "[run] precision"),
        ({**FULL, "rank": 3}, "bf16", "[run] precision"),
        ({"kind": "sketch", "k": 5, "rescore": False}, "tf32", "[run] precision"),
        (FULL, "fp8", "[run] precision"),
    ],
)
def test_a_contradiction_is_refused(world, candidates, precision, place):
    study = _study(world, "refused", candidates=candidates, run={"precision": precision})
    with pytest.raises(StudyError) as caught:
        load_study(study)
    assert place in f"{caught.value}"


def test_the_older_key_means_bf16(world):
    study = load_study(_study(world, "x", candidates={**FULL, "precision": "bfloat16"}))
    assert study.score_precision == "bf16"
    assert load_study(_study(world, "x")).score_precision == "auto"
