"""`RecordTraining` in a real Trainer: the record is exact, and recording changes nothing."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import TrainerCallback

from fastif import CrossEntropy, InputError, TransformerObjective
from fastif.gradients.per_example import Gradients, compute_measure_gradients
from fastif.unrolled.replay import Replay
from fastif.unrolled.reverse_sweep import unrolled_removal_effects
from fastif.unrolled.saved_record import open_record
from fastif.unrolled.trainer_callback import RecordTraining
from fastif.unrolled.training_record import TrainingRecord

pytest.importorskip("accelerate", reason="the Trainer of transformers needs it")
from transformers import Trainer

from tests.fastif.unrolled.small_trainers import (
    ROWS,
    Spy,
    make_examples,
    make_model,
    make_trainer,
)


def read(folder: Path, trainer: Trainer, attributed: Any = "all") -> TrainingRecord:
    objective = TransformerObjective(trainer.model, attributed, CrossEntropy())
    return open_record(folder / "record", objective, make_examples())


def check_exact(trainer: Trainer, record: TrainingRecord, attributed: Any = "all") -> None:
    """Every recorded step, repeated from the record alone, ends where the Trainer's did."""
    objective = TransformerObjective(trainer.model, attributed, CrossEntropy())
    spy = next(cb for cb in trainer.callback_handler.callbacks if isinstance(cb, Spy))
    assert record.num_steps == len(spy.weights)
    replay = Replay(record, objective, make_examples())
    start = replay.load_state(0)
    way = (spy.weights[-1] - start.params).norm()
    for step in replay.iterate(start, record.num_steps):
        distance = (step.after.params - spy.weights[step.before.step]).norm() / way
        assert distance < 1e-4, step.before.step  # rounding; batches in another order: above 0.1
    final = record.load_state(record.num_steps)
    assert torch.equal(final.params, spy.weights[-1])


SGD = {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.01}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "accumulated": {"gradient_accumulation_steps": 2, "dataloader_drop_last": True},
    "last batch dropped": {"dataloader_drop_last": True},
    "max_steps": {"max_steps": 7, "lr_scheduler_type": "cosine", "warmup_steps": 3},
    "workers": {"dataloader_num_workers": 1},
    "sampler with a seed": {
        "accelerator_config": {"use_seedable_sampler": False},
        "data_seed": 7,
    },
    "by length": {"train_sampling_strategy": "group_by_length", "max_grad_norm": 0.05},
    "sequential": {"train_sampling_strategy": "sequential", "max_grad_norm": 0.0},
    "plain adamw": {"optim": "adamw_torch", "adam_beta2": 0.95, "adam_epsilon": 1e-6},
}


@pytest.mark.parametrize(
    "name",
    [
        "defaults",
        "accumulated",
        "by length",
        *(pytest.param(n, marks=pytest.mark.long) for n in list(CASES)[2:] if n != "by length"),
    ],
)
def test_a_trainer_is_recorded_exactly(tmp_path, name):
    model = make_model()
    model.accepts_loss_kwargs = name != "accumulated"  # or the Trainer adds means, see below
    trainer = make_trainer(tmp_path, model, **CASES[name])
    trainer.train()
    record = read(tmp_path, trainer)
    check_exact(trainer, record)
    assert record.count == ROWS
    if name in ("defaults", "by length"):
        order = torch.cat(record.batches)
        for epoch in (order[:ROWS], order[ROWS:]):
            assert epoch.sort()[0].tolist() == list(range(ROWS)), "each row once"
        assert not torch.equal(order[:ROWS], order[ROWS:])


@pytest.mark.parametrize(
    "kind", ["sgd", *(pytest.param(n, marks=pytest.mark.long) for n in ("adam", "wrapped"))]
)
def test_own_optimisers_and_frozen_layers_are_recorded_exactly(tmp_path, kind):
    model = make_model()
    model.bert.embeddings.requires_grad_(False)
    model.bert.encoder.layer[0].requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizers = {
        "sgd": lambda: torch.optim.SGD(trained, **SGD),
        "adam": lambda: torch.optim.Adam(trained, lr=0.01, weight_decay=0.02),
        "wrapped": lambda: torch.optim.Adam(
            trained, lr=0.01, weight_decay=0.02, decoupled_weight_decay=True
        ),
    }
    trainer = make_trainer(tmp_path, model, optimizer=optimizers[kind]())
    trainer.train()
    check_exact(trainer, read(tmp_path, trainer, "last:1"), "last:1")


@pytest.mark.parametrize("accumulated", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("step", [4, pytest.param(6, marks=pytest.mark.long)])
def test_a_resumed_training_is_recorded_as_one(tmp_path, step, accumulated):
    """The first process stops a step after its checkpoint; the second continues there."""

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == step + 1:
                raise KeyboardInterrupt

    options = {
        "save_strategy": "steps",
        "save_steps": step,
        "num_train_epochs": 2 * accumulated,
        "gradient_accumulation_steps": accumulated,
        "dataloader_drop_last": accumulated > 1,
    }

    def make() -> Trainer:
        model = make_model()
        model.accepts_loss_kwargs = accumulated == 1
        return make_trainer(tmp_path, model, **options)

    first = make()
    first.add_callback(Stop())
    with pytest.raises(KeyboardInterrupt):
        first.train()
    second = make()
    second.train(resume_from_checkpoint=str(tmp_path / "out" / f"checkpoint-{step}"))
    spies = [
        next(cb for cb in t.callback_handler.callbacks if isinstance(cb, Spy))
        for t in (first, second)
    ]
    spies[1].weights = spies[0].weights[:step] + spies[1].weights
    check_exact(second, read(tmp_path, second))


def test_a_training_that_stops_early_is_recorded_up_to_there(tmp_path):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == 8

    trainer = make_trainer(tmp_path)
    trainer.add_callback(Stop())
    trainer.train()
    record = read(tmp_path, trainer)
    assert record.num_steps == 8
    check_exact(trainer, record)


def test_batches_that_were_drawn_ahead_and_not_used_are_not_recorded(tmp_path):
    """A callback ends each epoch after two steps, when the loader has drawn a third batch."""

    class EndEpoch(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_epoch_stop = state.global_step % 2 == 0

    trainer = make_trainer(tmp_path)
    trainer.add_callback(EndEpoch())
    trainer.train()
    record = read(tmp_path, trainer)
    assert record.num_steps == 4
    check_exact(trainer, record)


def test_recording_changes_no_bit_of_the_training(tmp_path):
    trained = []
    for name in ("recorded", "plain"):
        trainer = make_trainer(tmp_path / name)
        if name == "plain":
            trainer.remove_callback(RecordTraining)
        trainer.train()
        trained.append(torch.cat([p.flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*trained)


def test_label_smoothing_is_recorded_with_its_loss(tmp_path):
    with pytest.raises(InputError, match=r"CrossEntropy\(label_smoothing=0\.1\)"):
        make_trainer(tmp_path, label_smoothing_factor=0.1).train()
    loss = CrossEntropy(label_smoothing=0.1)
    trainer = make_trainer(tmp_path, loss=loss, label_smoothing_factor=0.1)
    trainer.train()
    objective = TransformerObjective(trainer.model, "all", loss)
    record = open_record(tmp_path / "record", objective, make_examples())
    start, *_, last = record.state_steps
    *_, step = Replay(record, objective, make_examples()).iterate(record.load_state(start), last)
    weights = objective.space.flatten(objective.params)
    assert (step.after.params - weights).norm() < 1e-4 * weights.norm()


@pytest.mark.long
def test_a_record_serves_the_reverse_sweep(tmp_path):
    trainer = make_trainer(tmp_path, learning_rate=3e-3)
    trainer.train()
    record, examples = read(tmp_path, trainer), make_examples()
    objective = TransformerObjective(trainer.model, "all", CrossEntropy())
    queries = compute_measure_gradients(Gradients(objective), examples.subset([0, 5]))
    effects = unrolled_removal_effects(record, objective, examples, queries)
    assert effects.shape == (2, ROWS)
    assert torch.isfinite(effects).all()
    assert effects.abs().max() > 0


@pytest.mark.parametrize("best", [2, pytest.param(4, marks=pytest.mark.long)])
def test_the_record_ends_at_the_best_checkpoint_if_its_weights_are_loaded(tmp_path, best):
    """Evaluations score 1 at step 2 `best`, 0 at all others; the Trainer loads those weights."""
    scores = iter([float(number == best) for number in range(1, 7)])
    options = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    trainer = make_trainer(
        tmp_path,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        **options,
    )
    trainer.compute_metrics = lambda _: {"score": next(scores)}
    trainer.train()
    assert trainer.state.best_global_step == 2 * best
    record = read(tmp_path, trainer)
    assert record.num_steps == 2 * best
    spy = next(cb for cb in trainer.callback_handler.callbacks if isinstance(cb, Spy))
    spy.weights = spy.weights[: 2 * best]
    check_exact(trainer, record)
    names = [path.stem for path in (tmp_path / "record").glob("s*.safetensors")]
    assert max(int(name.rsplit("-", 1)[1]) for name in names) == 2 * best, "no others are left"


def test_a_training_of_an_adapter_is_recorded_exactly(tmp_path):
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
    trainer = make_trainer(tmp_path, peft.get_peft_model(make_model(), config))
    trainer.train()
    record = read(tmp_path, trainer, "adapter")
    check_exact(trainer, record, "adapter")


def test_dropout_of_an_adapter_is_refused_by_its_name(tmp_path):
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_dropout=0.1)
    trainer = make_trainer(tmp_path, peft.get_peft_model(make_model(), config))
    with pytest.raises(InputError, match=r"dropout.*lora_dropout"):
        trainer.train()
