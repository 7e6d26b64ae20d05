"""Small Trainers of transformers that record their training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, TrainerCallback

from fastif import TextExamples
from fastif.unrolled.trainer_callback import RecordTraining

pytest.importorskip("accelerate", reason="the Trainer of transformers needs it")
from transformers import Trainer, TrainingArguments

ROWS, BATCH = 22, 4
SIZES = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 40,
    "max_position_embeddings": 16,
    "num_labels": 3,
}


def make_model(dropout: float = 0.0) -> BertForSequenceClassification:
    torch.manual_seed(0)
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return BertForSequenceClassification(BertConfig(**SIZES, **rates))


def make_rows() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(3, 9, (ROWS,), generator=generator).tolist()
    texts = [torch.randint(5, 40, (length,), generator=generator) for length in lengths]
    return [{"input_ids": text, "labels": i % 3} for i, text in enumerate(texts)]


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    tokens = nn.utils.rnn.pad_sequence([row["input_ids"] for row in rows], batch_first=True)
    labels = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": tokens, "attention_mask": (tokens > 0).long(), "labels": labels}


def make_examples() -> TextExamples:
    rows = make_rows()
    labels = torch.tensor([row["labels"] for row in rows])
    tokens = [row["input_ids"] for row in rows]
    return TextExamples(tokens, None, labels, torch.zeros(ROWS).bool(), padding=0)


class Spy(TrainerCallback):
    """Weights after each step."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []

    def on_step_end(self, args, state, control, model, **_):
        trained = [p.detach().flatten() for p in model.parameters() if p.requires_grad]
        self.weights.append(torch.cat(trained).clone())


def make_trainer(
    folder: Path,
    model: nn.Module | None = None,
    loss: Any = None,
    callback: RecordTraining | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    **options: Any,
) -> Trainer:
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": BATCH, **options}
    settings = {"learning_rate": 3e-2, "weight_decay": 0.1, "save_strategy": "no", **settings}
    args = TrainingArguments(
        str(folder / "out"), use_cpu=True, report_to=[], disable_tqdm=True, **settings
    )
    return Trainer(
        make_model() if model is None else model,
        args,
        train_dataset=make_rows(),
        eval_dataset=make_rows()[:BATCH],
        data_collator=collate,
        optimizers=(optimizer, None),
        callbacks=[callback or RecordTraining(folder / "record", loss), Spy()],
    )
