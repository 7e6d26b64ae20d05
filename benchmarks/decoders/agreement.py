"""Predicted effects of texts on small decoders against retraining on halves: GPT-2 and Llama.

`python -m benchmarks.decoders.agreement` measures (some minutes of processor time) and writes
benchmarks/results/decoders.json with its page; with the name of a model it measures this one alone
and keeps the others. FASTIF_DATA names the folder with sst2.
"""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import fastif
from benchmarks.decoders.report import NAME, build_pages
from benchmarks.fidelity.workload import read_random_rows
from benchmarks.machine import describe
from benchmarks.page import publish, read_result
from benchmarks.retraining import Plan, measure_halves, zero_head

TRAIN, QUERIES = 500, 100
LAYERS, WIDTH, HEADS, MAX_LENGTH = 3, 64, 4, 40
PADDING, UNKNOWN = "[PAD]", "[UNK]"
LABELS = ("negative", "positive")
DAMPINGS = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
PRETRAINING = fastif.TrainingConfig(epochs=3, learning_rate=1e-3, weight_decay=0.01)
RECIPE = fastif.TrainingConfig(epochs=5, learning_rate=1e-3, weight_decay=0.0, batch_size=32)


def main() -> None:
    """Measure, and write the result and its page."""
    if "FASTIF_DATA" not in os.environ:
        sys.exit("FASTIF_DATA must name the folder with sst2")
    train, queries, others = read_parts(Path(os.environ["FASTIF_DATA"]) / "sst2")
    tokenizer = make_tokenizer(others["text"].to_list())
    decoders, names = make_models(len(tokenizer)), sys.argv[1:]
    result = (read_result(NAME) if names else {}) or {"models": {}}
    result |= {"machine": describe(), "facts": describe_sizes(len(others), len(tokenizer))}
    result["recipe"] = asdict(RECIPE)
    rows = [encode(tokenizer, frame) for frame in (train, queries, others)]
    for name in names or decoders:
        entry = measure(decoders[name], *rows)
        result["models"][f"{name}, last:1"] = entry
        print(name, entry, flush=True)
        publish(NAME, result, build_pages(result))  # a stopped run keeps what it has measured


def measure(
    model: PreTrainedModel,
    train: fastif.TextExamples,
    queries: fastif.TextExamples,
    others: fastif.TextExamples,
) -> dict:
    """Train the whole model on other rows, and measure the methods for its last layer."""
    pretrain(model, others)
    zero_head(model)
    objective = fastif.TransformerObjective(model, "last:1")
    plan = Plan(RECIPE, halves=30, choice_halves=10, seeds=2, dampings=DAMPINGS)
    return measure_halves(objective, train, queries, plan)


def read_parts(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return training rows, queries, and the rows for the training of the whole model."""
    train = read_random_rows(folder / "train.parquet", TRAIN)
    others = pl.read_parquet(folder / "train.parquet").filter(~pl.col("text").is_in(train["text"]))
    return train, read_random_rows(folder / "dev.parquet", QUERIES), others


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words that occur twice or more."""
    counts = Counter(word for text in texts for word in text.split())
    words = [PADDING, UNKNOWN, *(word for word, count in counts.items() if count > 1)]
    vocabulary = {word: i for i, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=PADDING, unk_token=UNKNOWN, padding_side="right"
    )


def encode(tokenizer: PreTrainedTokenizerFast, frame: pl.DataFrame) -> fastif.TextExamples:
    """Return the rows of a table as tokens and labels."""
    labels = [LABELS.index(label) for label in frame["label"]]
    return fastif.encode(tokenizer, frame["text"].to_list(), None, labels, MAX_LENGTH)


def make_models(words: int) -> dict[str, PreTrainedModel]:
    """Return untrained decoders."""
    torch.manual_seed(0)
    gpt2 = GPT2Config(
        vocab_size=words, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=MAX_LENGTH,
        pad_token_id=0, bos_token_id=None, eos_token_id=None, num_labels=2,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager",
    )  # fmt: skip
    llama = LlamaConfig(
        vocab_size=words, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=2, intermediate_size=2 * WIDTH, max_position_embeddings=MAX_LENGTH,
        pad_token_id=0, bos_token_id=None, eos_token_id=None, num_labels=2,
        attn_implementation="eager",
    )  # fmt: skip
    return {
        "GPT-2": GPT2ForSequenceClassification(gpt2).eval(),
        "Llama": LlamaForSequenceClassification(llama).eval(),
    }


def pretrain(model: PreTrainedModel, examples: fastif.TextExamples) -> None:
    """Train the whole model."""
    objective = fastif.TransformerObjective(model, "all")
    model.load_state_dict(dict(fastif.fit(objective, examples, PRETRAINING)), strict=False)


def describe_sizes(others: int, words: int) -> dict[str, int]:
    """Return the sizes of data and models for the page."""
    return {
        "train": TRAIN,
        "queries": QUERIES,
        "others": others,
        "layers": LAYERS,
        "width": WIDTH,
        "words": words,
        "max_length": MAX_LENGTH,
        "pretraining_epochs": PRETRAINING.epochs,
    }


if __name__ == "__main__":
    main()
