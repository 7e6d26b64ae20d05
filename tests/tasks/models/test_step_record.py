"""Record of `fastif train`: torch repeats it to the same weights, and it is checked."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from fastif import CrossEntropy, InputError, TransformerObjective
from fastif.unrolled.denser_record import add_states
from fastif.unrolled.saved_record import open_record
from fastif.unrolled.training_record import TrainingRecord
from tasks.models import step_record
from tasks.models.finetune import train_model
from tasks.models.step_record import find_record_problem, open_step_record
from tasks.planning.open_run import load_run
from tasks.run.hidden_states import get_train_examples
from tasks.run.spec import plan_run

RECIPE = {"base": "base", "epochs": 4, "learning_rate": 5e-3, "batch_size": 7}


def write(world: Path, attributed: str = "last:1", **changes: object) -> Path:
    return tiny.write_study(
        world,
        model={"path": "out/trained"},
        training={**RECIPE, **changes},
        parameters={"attributed": attributed},
    )


@pytest.fixture(scope="module")
def trained_out(made, tmp_path_factory) -> Path:
    """The folder that training the tiny study writes; copied, never changed."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("trained") / "world")
    train_model.fn(str(write(folder)))
    return folder / "out"


@pytest.fixture
def trained(world, trained_out):
    shutil.copytree(trained_out, world / "out")
    return write(world), world / "out" / "trained"


def repeat_by_torch(
    folder: Path, record: TrainingRecord, examples, decoupled: bool
) -> torch.Tensor:
    """Train the saved model again from the record's first state, without the library."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    trained = [p for name, p in model.named_parameters() if name.startswith(tiny.LAST)]
    vector = record.load_state(0).params
    for tensor, values in zip(trained, vector.split([p.numel() for p in trained]), strict=True):
        tensor.data = values.view_as(tensor).clone()
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind(trained, weight_decay=record.groups[0].weight_decay)
    for ids, (rate,) in zip(record.batches, record.learning_rates.tolist(), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        batch = examples.take(ids)
        labels = batch.pop("labels")
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(**batch).logits, labels).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in trained])


@pytest.mark.parametrize("decay", ["decoupled", pytest.param("coupled", marks=pytest.mark.long)])
def test_the_record_of_a_training_repeated_by_torch_ends_in_the_saved_weights(world, decay):
    loss = {"weight_decay": 0.02, "weight_decay_kind": decay}
    study = write(world)
    study.write_text(study.read_text() + "[loss]\n" + "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in loss.items()
    ))  # fmt: skip
    train_model.fn(str(study))
    folder = world / "out" / "trained"
    context = load_run(plan_run(study))
    record = open_record(folder / "record", context.objective, context.train_examples)
    assert (record.count, record.num_steps) == (tiny.TRAIN, 36)
    assert record.state_steps == (0, 12, 24, 36)
    for epoch in range(4):
        order = torch.cat(record.batches[9 * epoch : 9 * epoch + 9])
        assert order.sort()[0].tolist() == list(range(tiny.TRAIN)), "each row once an epoch"
    again = repeat_by_torch(folder, record, context.train_examples, decay == "decoupled")
    final, start = record.load_state(36).params, record.load_state(0).params
    assert measure_distance(record, again, final) < 1e-4 * measure_distance(record, start, final)
    saved = load_file(folder / "model.safetensors")
    names = [name for name in context.objective.space.names if name.startswith(tiny.LAST)]
    assert torch.equal(final, torch.cat([saved[name].flatten() for name in names]))


def test_states_between_the_stored_ones_are_those_of_the_training(trained, world):
    """The same training with all states stored has them at the same steps."""
    study, folder = trained
    context = load_run(plan_run(study))
    train = get_train_examples(context)
    stored = open_step_record(folder, context.objective, context.train_examples)
    assert stored is not None
    record = add_states(stored, context.objective, train)
    assert record.state_steps == (0, 6, 12, 18, 24, 30, 36)
    full = open_record(folder / "record", context.objective, context.train_examples)
    again = repeat_by_torch(folder, shorten(full, 18), context.train_examples, True)
    ours = record.load_state(18).params
    way = measure_distance(full, full.load_state(0).params, ours)
    assert measure_distance(full, again, ours) < 1e-4 * way
    assert torch.equal(record.load_state(24).params, full.load_state(24).params)


def measure_distance(record: TrainingRecord, first: torch.Tensor, second: torch.Tensor) -> float:
    """Distance in the weights of Adam's second moment: where the gradient is rounding alone, as in
    the bias of the keys, Adam moves a parameter by chance."""
    weights = record.load_state(record.num_steps).moments[1].sqrt()
    return float(((first - second) * weights).norm())


def shorten(record: TrainingRecord, step: int) -> TrainingRecord:
    """The first steps of a record; its last state is not read."""
    return TrainingRecord(
        record.optimizer, record.groups, record.learning_rates[:step], record.batches[:step],
        record.count, (0, step), record.load_state, "",
    )  # fmt: skip


def test_the_record_takes_ten_times_the_trained_parameters(trained):
    _, folder = trained
    saved = load_file(folder / "model.safetensors")
    size = sum(tensor.nbytes for name, tensor in saved.items() if name.startswith(tiny.LAST))
    states = [load_file(path) for path in (folder / "record").glob("state-*")]
    assert sum(t.nbytes for state in states for t in state.values()) == 10 * size
    files = sum(path.stat().st_size for path in (folder / "record").iterdir())
    assert files < 10 * size + 40_000


@pytest.mark.parametrize("change", ["no record", "record = false"])
def test_a_model_without_record_is_valid_and_not_trained_again(trained, world, change):
    study, folder = trained
    context = load_run(plan_run(study))
    assert find_record_problem(folder, context.objective, context.train_examples) is None
    if change == "no record":
        shutil.rmtree(folder / "record")
    else:
        write(world, record=False)
    assert train_model.fn(str(study)).skipped
    if change == "no record":
        problem = find_record_problem(folder, context.objective, context.train_examples)
        assert problem == "its training was not recorded"
        assert open_step_record(folder, context.objective, context.train_examples) is None


def test_nothing_is_recorded_where_the_key_or_the_disk_says_no(world, monkeypatch):
    train_model.fn(str(write(world, record=False, checkpoints=[])))
    assert not (world / "out" / "trained" / "record").exists()
    shutil.rmtree(world / "out")
    monkeypatch.setattr(step_record, "count_free_bytes", lambda _: 1000)
    result = train_model.fn(str(write(world, checkpoints=[])))
    assert result.note.startswith("The training was not recorded: no room for")
    assert not (world / "out" / "trained" / "record").exists()


def test_a_record_above_the_limit_is_left_out_with_a_sentence(world, monkeypatch):
    monkeypatch.setattr(step_record, "MAX_RECORD_BYTES", 1000)
    result = train_model.fn(str(write(world, checkpoints=[])))
    assert result.note.startswith("The training was not recorded: ")
    assert "is above 0.0 MB" in result.note
    assert not (world / "out" / "trained" / "record").exists()


def test_folders_of_killed_trainings_are_removed_after_two_days(world):
    parent = world / "out"
    for name, days in ((".trained.0a.tmp", 3), (".trained.0b.tmp", 1), (".other.0c.tmp", 3)):
        file = parent / name / "record" / "recording.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        for path in (file, file.parent, parent / name):
            os.utime(path, (time.time() - days * 86400,) * 2)
    train_model.fn(str(write(world)))
    assert sorted(p.name for p in parent.iterdir()) == [
        ".other.0c.tmp",
        ".trained.0b.tmp",
        "trained",
    ]


def test_a_record_of_other_parameters_rows_or_weights_is_refused(trained, world):
    study, folder = trained
    context = load_run(plan_run(study))
    objective, examples = context.objective, context.train_examples
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    every = TransformerObjective(model, "all", CrossEntropy())
    assert "attributed but not trained" in find_record_problem(folder, every, examples)
    problem = find_record_problem(folder, objective, examples.subset(range(59)))
    assert "the 60 training rows of the record; got 59" in problem
    earlier = AutoModelForSequenceClassification.from_pretrained(folder / "checkpoint-0.5")
    other = TransformerObjective(earlier, "last:1", CrossEntropy())
    assert "the training that ended in the model's weights" in find_record_problem(
        folder, other, examples
    )
    (folder / "record" / "state-000012.safetensors").unlink()
    with pytest.raises(InputError, match=r"state-000012\.safetensors; got missing"):
        open_step_record(folder, objective, examples)
