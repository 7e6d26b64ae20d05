"""The context of a run over a few rows, of an untrained model without a file."""

from pathlib import Path

import tiny
import torch
from transformers import BertConfig, BertForSequenceClassification

from fastif import CrossEntropy, TextExamples, TransformerObjective
from storage import RunRecord, compute_fingerprint
from tasks.data.inputs import read_study, read_tables
from tasks.run.context import RunContext
from tasks.run.spec import RunPlan

PARTS = ("train", "queries", "labels", "max_length", "mathematics", "model", "recipe", "candidates")


def make_context(folder: Path, models: int = 1, **sections) -> RunContext:
    """A study of four training rows and three queries; `sections` change its file."""
    for name, count in (("train", 4), ("queries", 3)):
        rows = [
            {"id": f"{name}{i}", "text": f"word{i}", "label": tiny.LABELS[i % 2], "kind": "a"}
            for i in range(count)
        ]
        tiny.write_rows(folder / f"{name}.csv", rows)
    others = [f"model{i}" for i in range(1, models)]
    study = read_study(
        tiny.write_study(
            folder, **{"candidates": {"kind": "full"}, "top": {"models": others}, **sections}
        )
    )
    inputs = read_tables(study)
    parts = {name: name for name in PARTS} | {"train": inputs.train.digest}
    record = RunRecord(
        run="by-hand",
        study=study.name,
        fingerprint=compute_fingerprint(parts),
        created="2026-01-01T00:00:00+00:00",
        parts=parts,
        query_rows=3,
        train_rows=4,
        shard_size=2,
    )
    texts = [_make_texts(4), _make_texts(3)]
    first, *rest = (
        RunContext(RunPlan(inputs, record), _make_objective(i), *texts, f"model {i}")
        for i in range(models)
    )
    return RunContext(first.plan, first.objective, *texts, first.model_digest, tuple(rest))


def _make_objective(seed: int) -> TransformerObjective:
    """Two layers of four numbers; the first is frozen, as "last:1" of the tiny study has it."""
    config = BertConfig(
        vocab_size=16,
        hidden_size=4,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=16,
        attn_implementation="eager",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config).eval()
    return TransformerObjective(model, "last:1", CrossEntropy(), CrossEntropy())


def _make_texts(count: int) -> TextExamples:
    tokens = [torch.tensor([i + 1, 7]) for i in range(count)]
    labels = torch.arange(count) % 2
    return TextExamples(tokens, None, labels, torch.zeros(count, dtype=torch.bool), padding=0)
