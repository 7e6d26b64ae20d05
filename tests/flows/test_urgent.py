"""One urgent query: its repeats on workers of their own say what one worker says."""

import pytest
import tiny
import torch
from rich.console import Console
from typer.testing import CliRunner

import fastif
from flows.cli.app import app
from flows.executor_config import DaskLocal, Threads
from tasks.audit.prepare import factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.audit.single_query import (
    KIND,
    Asked,
    answer_urgent,
    solve_repeat,
)
from tasks.planning.open_run import open_job
from tasks.planning.start_run import begin
from tasks.run.spec import plan_run
from tasks.terminal.audit import draw_explained

LISSA = {"kind": "lissa", "repeats": 3, "batch": 8, "depth": 12, "scale": 50.0}


@pytest.fixture
def study(world):
    return tiny.write_study(world, solver=LISSA)


def explained(study, asked):
    """Without Prefect: what the flow does, one task after the other."""
    plan = plan_run(study)
    begin(plan)
    choose_damping.fn(plan.ref)
    factor_curvature.fn(plan.ref)
    digests = [solve_repeat.fn(i, asked, plan.ref) for i in range(asked.repeats)]
    return answer_urgent.fn(digests, asked, plan.ref), plan


def test_the_average_of_split_repeats_is_the_whole_answer(study):
    found, plan = explained(study, Asked(4, 3, 5))
    job = open_job(plan.ref)
    answer = job.alone(fastif.Everything(5))(job.queries, torch.tensor([4]))
    rows = answer.influences
    table = plan.inputs.train.ids
    whole = dict(
        zip([table[i] for i in rows.ids[0].tolist()], rows.removal_effect[0].tolist(), strict=True)
    )
    told = {r["train_id"]: r["removal_effect"] for r in [*found.harmful, *found.helpful]}
    assert len(told) == 10
    assert told == pytest.approx({name: whole[name] for name in told}, rel=1e-5)
    assert found.query["spread"] == pytest.approx(float(answer.certificate.spread[0]), rel=1e-4)
    assert [r["removal_effect"] for r in found.harmful] == sorted(
        r["removal_effect"] for r in found.harmful
    )


def test_a_repeat_is_solved_once_and_more_of_them_add_to_it(study, monkeypatch):
    first, plan = explained(study, Asked(4, 3, 5))
    store = open_job(plan.ref).store
    assert len(store.parts(KIND)) == 3
    calls = []
    real = fastif.Lissa.repeat
    monkeypatch.setattr(
        fastif.Lissa, "repeat", lambda self, *a: calls.append(a[2]) or real(self, *a)
    )
    again, _ = explained(study, Asked(4, 3, 5))
    assert (calls, again.harmful) == ([], first.harmful)
    explained(study, Asked(4, 5, 5))
    assert calls == [3, 4]
    explained(study, Asked(5, 1, 5))
    assert calls == [3, 4, 0]


@pytest.mark.flow
@pytest.mark.parametrize(
    "engine", [Threads(), pytest.param(DaskLocal(workers=2), marks=pytest.mark.long)], ids=str
)
def test_engines_say_the_same(study, prefect, monkeypatch, engine):
    pytest.importorskip("prefect_dask", reason="the extra dask")
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)
    from flows.single_query import urgent

    name = plan_run(study).inputs.queries.ids[4]
    found = urgent(str(study), name, 3, 5, engine)
    expected, _ = explained(study, Asked(4, 3, 5))
    for ends in ("harmful", "helpful"):
        told, wanted = getattr(found, ends), getattr(expected, ends)
        assert [r["train_id"] for r in told] == [r["train_id"] for r in wanted]


def test_another_solver_or_query_is_refused(world, study):
    done = CliRunner().invoke(app, ["urgent", "nobody", "--study", str(study)])
    assert done.exit_code == 2
    assert "an id of" in done.output.replace("\n", " ")
    other = tiny.write_study(world, "dual.toml")
    done = CliRunner().invoke(app, ["urgent", "query-0", "--study", str(other)])
    assert done.exit_code == 2
    assert "lissa" in done.output


def test_an_answer_is_shown_with_what_is_known_of_the_training(study):
    found, plan = explained(study, Asked(4, 1, 5))
    console = Console(width=120, record=True)
    console.print(draw_explained(found))
    assert all(f"{row['train_id']}" in console.export_text(clear=False) for row in found.harmful)
    known = open_job(plan.ref).provenance
    trained = None if known is None else known.trained
    place = {name: place for place, name in enumerate(plan.inputs.train.ids)}
    for row in [*found.harmful, *found.helpful]:
        expected = None if trained is None else trained[place[f"{row['train_id']}"]]
        assert row["train_trained"] == expected
