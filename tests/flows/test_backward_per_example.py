"""`[run] one_by_one`: equal effects by one backward pass per example, reported everywhere."""

import pytest
import tiny
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.results.summary import read_summary


def _study(world, store: str, one_by_one: bool):
    run = {"shard_size": 9, "one_by_one": one_by_one}
    head = {"attributed": ["^classifier"]}
    name = f"{store}.toml"
    return tiny.write_study(world, name, parameters=head, run=run, store={"path": store})


@pytest.mark.long
def test_effects_are_the_same_and_the_route_is_reported(made, tmp_path):
    world = tiny.copy(made, tmp_path / "world")
    hooks, each = (_study(world, name, by) for name, by in (("hooks", False), ("each", True)))
    effects, routes, evidence = [], [], []
    for study in (hooks, each):
        store, run = tiny.run_directly(study)
        effects.append(tiny.scores_by_id(store, run)["removal_effect"].to_torch())
        routes.append(store.scan("solves", run).collect()["route"].unique().to_list())
        evidence.append(dict(read_summary(store, run, study).evidence)["gradients"])
    assert (effects[0] - effects[1]).abs().max() < 1e-5 * effects[0].abs().max()
    assert [len(kinds) for kinds in routes] == [1, 1]
    assert [evidence[0], evidence[1]] == [routes[0][0], routes[1][0]]
    assert routes[0][0] != routes[1][0] == "one by one: asked for"


@pytest.mark.long
def test_doctor_names_the_route_and_why(made, tmp_path):
    world = tiny.copy(made, tmp_path / "world")
    lines = {
        by: CliRunner().invoke(app, ["doctor", "--study", str(_study(world, "store", by))]).output
        for by in (False, True)
    }
    assert "gradients are computed for a batch at a time" in " ".join(lines[False].split())
    assert "gradients are computed one example at a time (slow): asked for" in " ".join(
        lines[True].split()
    )
