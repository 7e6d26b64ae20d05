"""Trainings that a record cannot represent are refused, with the change that is needed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastif import CrossEntropy, InputError, TransformerObjective
from fastif.unrolled.saved_record import open_record
from fastif.unrolled.trainer_callback import RecordTraining

pytest.importorskip("accelerate", reason="the Trainer of transformers needs it")
from transformers import Trainer

from tests.fastif.unrolled.small_trainers import (
    BATCH,
    collate,
    make_examples,
    make_model,
    make_rows,
    make_trainer,
)


def _refused(folder: Path, **changes: Any) -> str:
    trainer = make_trainer(folder, **changes)
    before = [p.clone() for p in trainer.model.parameters()]
    with pytest.raises(InputError) as raised:
        trainer.train()
    assert all(map(torch.equal, before, trainer.model.parameters())), "before any update"
    assert not (folder / "record" / "record.json").exists()
    return str(raised.value)


def test_what_cannot_be_repeated_is_refused_before_the_first_update(tmp_path):
    message = _refused(tmp_path, model=make_model(0.1))
    assert "hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0" in message
    assert "bf16" in _refused(tmp_path, bf16=True)
    assert "adafactor" in _refused(tmp_path, optim="adafactor").lower()
    unusual = make_model()
    optimizer = torch.optim.AdamW(unusual.parameters(), amsgrad=True)
    assert "amsgrad" in _refused(tmp_path, model=unusual, optimizer=optimizer)
    few = make_model()
    part = torch.optim.AdamW(few.classifier.parameters())
    assert "left out" in _refused(tmp_path, model=few, optimizer=part)


def test_another_loss_is_refused_at_the_first_step(tmp_path):
    class Weighted(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            weight = torch.tensor([1.0, 2.0, 3.0])
            loss = nn.functional.cross_entropy(model(**inputs).logits, labels, weight)
            return (loss, None) if return_outputs else loss

    plain = make_trainer(tmp_path)
    trainer = Weighted(
        plain.model,
        plain.args,
        train_dataset=make_rows(),
        data_collator=collate,
        callbacks=[RecordTraining(tmp_path / "record")],
    )
    with pytest.raises(InputError, match="RecordTraining: step 1"):
        trainer.train()


def test_accumulated_batches_that_are_added_and_not_averaged_are_refused(tmp_path):
    """The Trainer leaves the division to the model's loss, which BERT's loss does not do."""
    message = _refused(tmp_path, gradient_accumulation_steps=2)
    assert "at a relative distance of 5.0e-01" in message, "twice the mean"
    assert "model.accepts_loss_kwargs = False" in message
    model = make_model()
    model.accepts_loss_kwargs = False
    message = _refused(tmp_path, model=model, gradient_accumulation_steps=2)
    assert "a last batch of 2 rows instead of 4" in message


def test_random_rows_are_refused_at_the_first_step(tmp_path):
    """A collator that replaces tokens at random, as augmentation does."""

    def replace_tokens(rows):
        batch = collate(rows)
        batch["input_ids"] = torch.where(
            torch.rand(batch["input_ids"].shape) < 0.3, 7, batch["input_ids"]
        )
        return batch

    trainer = make_trainer(tmp_path)
    trainer.data_collator = replace_tokens
    with pytest.raises(InputError, match="the same rows whenever they are read"):
        trainer.train()


def test_a_loss_that_differs_only_for_the_last_batch_ends_the_record_and_not_the_training(tmp_path):
    """Half the training may be done by then, so it goes on; the record says why it is of no use."""

    class Scaled(Trainer):
        def compute_loss(self, model, inputs, **options):
            loss = super().compute_loss(model, inputs, **options)
            return loss if len(inputs["input_ids"]) == BATCH else 2 * loss

    plain = make_trainer(tmp_path)
    trainer = Scaled(
        plain.model,
        plain.args,
        train_dataset=make_rows(),
        data_collator=collate,
        callbacks=[RecordTraining(tmp_path / "record")],
    )
    trainer.train()
    assert trainer.state.global_step == 12
    objective = TransformerObjective(trainer.model, "all", CrossEntropy())
    with pytest.raises(InputError, match="step 6: expected the gradients of the mean"):
        open_record(tmp_path / "record", objective, make_examples())


def test_streamed_rows_are_refused(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(make_rows())

    trainer = make_trainer(tmp_path, max_steps=4)
    trainer.train_dataset = Stream()
    with pytest.raises(InputError, match="streamed"):
        trainer.train()


def test_a_second_training_of_one_trainer_is_refused(tmp_path):
    """Its optimiser still has the moments of the first."""
    trainer = make_trainer(tmp_path)
    trainer.train()
    trainer.remove_callback(RecordTraining)
    trainer.add_callback(RecordTraining(tmp_path / "second"))
    with pytest.raises(InputError, match="Make a new Trainer"):
        trainer.train()
