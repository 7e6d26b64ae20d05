"""A study with an indefinite damped Hessian is refused before its first shard."""

import re
from pathlib import Path

import pytest
import tiny

from fastif import InputError
from tasks.planning.open_run import load_run
from tasks.run.artifact_keys import factor_digest
from tasks.run.spec import list_missing_shards, open_existing_store, plan_run


@pytest.fixture
def world(made, tmp_path) -> Path:
    return tiny.copy(made, tmp_path / "world")


def _study(world, damping: float) -> Path:
    return tiny.write_study(
        world,
        f"{damping}.toml",
        parameters={"attributed": ["pooler", "^classifier"]},
        curvature={"kind": "hessian", "damping": damping, "rows": 20},
        solver={"kind": "cg"},
        run={"shard_size": 17, "batch_size": 60},
        store={"path": f"store-{damping}"},
    )


def test_it_is_refused_with_a_sufficient_damping_in_the_message(world):
    study = _study(world, 1e-4)
    with pytest.raises(InputError, match="positive definite") as refusal:
        tiny.run_directly(study)
    plan = plan_run(study)
    assert len(list_missing_shards(open_existing_store(plan.inputs.study), plan.record.run)) == 1
    damping = float(re.search(r"damping of ([\d.e-]+) or more", str(refusal.value)).group(1))
    enough = _study(world, damping)
    store, run = tiny.run_directly(enough)
    least = store.scan("solves", run).collect()["least_eigenvalue"].unique().item()
    assert 0 < least < damping
    kept = load_run(plan_run(enough))
    assert kept.store.find_artifact("factor", factor_digest(kept)) is not None, (
        "it is computed once"
    )
