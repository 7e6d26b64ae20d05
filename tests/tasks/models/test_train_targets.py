"""Training by the recipe of a study for targets other than classes, and the audit after it."""

import pytest
import tiny
import torch
from target_worlds import WORLDS, make_world, read_rows

from tasks.audit.in_process import audit_in_process
from tasks.models.finetune import train_model
from tasks.run.spec import plan_run

TRAINING = {
    "base": "base",
    "trainable": "all",
    "epochs": 20,
    "learning_rate": 3e-3,
    "batch_size": 10,
}
CHANGES = {
    "training": TRAINING,
    "model": {"path": "trained"},
    "candidates": {"kind": "full", "keep": 10},
    "solver": {"kind": "direct"},
}


@pytest.mark.default_cases("multi-label columns", "number", "weights")
@pytest.mark.parametrize("name", WORLDS)
def test_a_trained_model_fits_its_targets_and_is_audited(tmp_path, name):
    folder, world = tmp_path / "made", WORLDS[name]
    make_world(folder, world)
    study = tiny.write_study(folder, **{**CHANGES, **world.study})
    trained = train_model.fn(str(study))
    kind = plan_run(study).inputs.study.target
    assert (trained.accuracy is None) == (kind == "number")
    store, run = audit_in_process(plan_run(study))
    rows = store.scan("train", run).collect()
    assert rows["loss"].null_count() == 0
    assert trained.loss == pytest.approx(float(rows["loss"].mean()), rel=1e-4)
    assert trained.loss < _fit_constant(world, read_rows(folder, "train"))
    assert train_model.fn(str(study)).skipped


def _fit_constant(world, rows):
    """The mean loss of the best outputs that are the same for all rows."""
    loss, targets = world.query_loss or world.loss, [world.target(row) for row in rows]
    outputs = torch.zeros(world.outputs, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([outputs], max_iter=100)

    def step():
        optimizer.zero_grad()
        mean = torch.stack([loss(outputs, target) for target in targets]).mean()
        mean.backward()
        return mean

    optimizer.step(step)
    return float(step())
