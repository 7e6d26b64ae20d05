"""The command `fastif flip` from end to end, with a confirmation."""

import json

import pytest
import tiny
from command_line import run

from tasks.models.finetune import train_model

RECIPE = {"base": "base", "epochs": 30, "learning_rate": 5e-3, "batch_size": 16}
RECIPE |= {"checkpoints": [], "record": False, "seed": 3}


@pytest.mark.flow
@pytest.mark.long
def test_the_command_from_end_to_end(world, prefect, monkeypatch):
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)
    study = tiny.write_study(world, model={"path": "out/trained"}, training=RECIPE)
    train_model.fn(str(study))
    code, out, _ = run("flip", "query-1", study, "--confirm", "--format", "json")
    assert code == 0
    content = json.loads(out[out.index("{") :])
    assert len(content["trainings"]) == (4 if content["flips"] else 0)
    code, out, _ = run("flip", "query-1", study, "--relabel", "--max-rows", "3")
    assert code == 0
    assert "query query-1" in out
