"""A single query: repeats on several workers give the result of one worker."""

import pytest
import tiny
import torch
from rich.console import Console
from typer.testing import CliRunner

import fastif
from flows.cli.app import app
from flows.executor_config import LocalDaskConfig, ThreadsConfig
from tasks.audit.prepare import factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.audit.single_query import (
    KIND,
    QueryRequest,
    attribute_query,
    solve_repeat,
)
from tasks.planning.open_run import open_run
from tasks.planning.start_run import start_run
from tasks.run.assemble import get_provenance, make_member_attributor
from tasks.run.hidden_states import get_query_examples
from tasks.run.spec import plan_run
from tasks.terminal.examples import render_explained_query

LISSA = {"kind": "lissa", "repeats": 3, "batch": 8, "depth": 12, "scale": 50.0}


@pytest.fixture
def study(world):
    return tiny.write_study(world, solver=LISSA)


def explain_directly(study, request):
    """Run the tasks of the flow one after the other, without Prefect."""
    plan = plan_run(study)
    start_run(plan)
    choose_damping.fn(plan.ref)
    factor_curvature.fn(plan.ref)
    digests = [solve_repeat.fn(i, request, plan.ref) for i in range(request.repeats)]
    return attribute_query.fn(digests, request, plan.ref), plan


@pytest.mark.long
def test_the_mean_of_distributed_repeats_equals_a_single_solve(study):
    result, plan = explain_directly(study, QueryRequest(4, 3, 5))
    context = open_run(plan.ref)
    answer = make_member_attributor(context, fastif.ExhaustiveSearch(5))(
        get_query_examples(context), torch.tensor([4])
    )
    rows = answer.influences
    table = plan.inputs.train.ids
    whole = dict(
        zip([table[i] for i in rows.ids[0].tolist()], rows.removal_effect[0].tolist(), strict=True)
    )
    effects = {r["train_id"]: r["removal_effect"] for r in [*result.harmful, *result.helpful]}
    assert len(effects) == 10
    assert effects == pytest.approx({name: whole[name] for name in effects}, rel=1e-5)
    assert result.query["spread"] == pytest.approx(float(answer.certificate.spread[0]), rel=1e-4)
    assert [r["removal_effect"] for r in result.harmful] == sorted(
        r["removal_effect"] for r in result.harmful
    )


def test_a_repeat_is_solved_once_and_further_ones_are_added(study, monkeypatch):
    first, plan = explain_directly(study, QueryRequest(4, 3, 5))
    store = open_run(plan.ref).store
    assert len(store.find_artifacts(KIND)) == 3
    calls = []
    real = fastif.Lissa.run_repeat
    monkeypatch.setattr(
        fastif.Lissa, "run_repeat", lambda self, *a: calls.append(a[2]) or real(self, *a)
    )
    again, _ = explain_directly(study, QueryRequest(4, 3, 5))
    assert (calls, again.harmful) == ([], first.harmful)
    explain_directly(study, QueryRequest(4, 5, 5))
    assert calls == [3, 4]
    explain_directly(study, QueryRequest(5, 1, 5))
    assert calls == [3, 4, 0]


@pytest.mark.long
@pytest.mark.flow
@pytest.mark.parametrize(
    "engine",
    [ThreadsConfig(), pytest.param(LocalDaskConfig(workers=2), marks=pytest.mark.long)],
    ids=str,
)
def test_executors_give_the_same_results(study, prefect, monkeypatch, engine):
    pytest.importorskip("prefect_dask", reason="the extra dask")
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)
    from flows.single_query import urgent

    name = plan_run(study).inputs.queries.ids[4]
    actual = urgent(str(study), name, 3, 5, engine)
    expected, _ = explain_directly(study, QueryRequest(4, 3, 5))
    for ends in ("harmful", "helpful"):
        shown, wanted = getattr(actual, ends), getattr(expected, ends)
        assert [r["train_id"] for r in shown] == [r["train_id"] for r in wanted]


def test_another_solver_or_query_is_refused(world, study):
    done = CliRunner().invoke(app, ["urgent", "nobody", "--study", str(study)])
    assert done.exit_code == 2
    assert "an id of" in done.output.replace("\n", " ")
    other = tiny.write_study(world, "dual.toml")
    done = CliRunner().invoke(app, ["urgent", "query-0", "--study", str(other)])
    assert done.exit_code == 2
    assert "lissa" in done.output


@pytest.mark.long
def test_a_query_is_shown_with_the_training_record(study):
    result, plan = explain_directly(study, QueryRequest(4, 1, 5))
    console = Console(width=120, record=True)
    console.print(render_explained_query(result))
    assert all(f"{row['train_id']}" in console.export_text(clear=False) for row in result.harmful)
    known = get_provenance(open_run(plan.ref))
    trained = None if known is None else known.trained
    place = {name: place for place, name in enumerate(plan.inputs.train.ids)}
    for row in [*result.harmful, *result.helpful]:
        expected = None if trained is None else trained[place[f"{row['train_id']}"]]
        assert row["train_trained"] == expected
