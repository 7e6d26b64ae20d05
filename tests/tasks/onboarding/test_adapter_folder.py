"""A run of the Trainer with LoRA leaves a folder that `fastif init` reads without a question."""

import json
from pathlib import Path

import peft
import pytest
import tiny
import torch
from made_tables import infer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fastif.models.pretrained import load_model
from tasks.models.checkpoints import search_checkpoints
from tasks.onboarding.write_study import render_proposal

pytest.importorskip("accelerate", reason="the Trainer of transformers needs it")
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments


def train_by_trainer(world: Path) -> Path:
    """The output folder of a Trainer with a PEFT model: three checkpoints and the final one."""
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_pretrained(world / "base")
    tokenizer = AutoTokenizer.from_pretrained(world / "base")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=4, lora_dropout=0.1)
    rows = [
        {**tokenizer(row["text"]), "labels": tiny.LABELS.index(row["label"])}
        for row in tiny.rows_of(world / "train.csv")
    ]
    args = TrainingArguments(
        str(world / "run"), use_cpu=True, report_to=[], disable_tqdm=True, num_train_epochs=3,
        per_device_train_batch_size=20, learning_rate=3e-2, save_strategy="epoch", logging_steps=1,
    )  # fmt: skip
    trainer = Trainer(
        peft.get_peft_model(base, config),
        args,
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(world / "final"))
    return world / "run"


def test_a_run_of_the_trainer_with_lora_is_read_without_a_question(world):
    run = train_by_trainer(world)
    assert not list(run.rglob("config.json"))
    proposal = infer(run, world / "train.csv", world / "queries.csv")
    model = proposal.model
    assert model.folder.name == "checkpoint-9"
    assert model.is_adapter
    assert model.names == tuple(tiny.LABELS)  # of the base, as PEFT saves none
    assert model.recipe["base"] == str(world / "base")
    assert (model.recipe["lora_rank"], model.recipe["epochs"]) == (2, 3)
    text = render_proposal(proposal, world / "study.toml", "adapted")
    assert 'attributed = "adapter"' in text
    assert "# lora_rank = 2" in text
    assert [c.folder.name for c in search_checkpoints(run / "checkpoint-9").checkpoints] == [
        "checkpoint-3",
        "checkpoint-6",
    ]
    assert not search_checkpoints(run / "checkpoint-9").ignored
    state = load_model(world / "final").state_dict()
    last = load_model(run / "checkpoint-9").state_dict()
    assert all(torch.equal(state[name], last[name]) for name in state)
    assert json.loads((run / "checkpoint-9/adapter_config.json").read_text())["r"] == 2
