"""Tables with columns of known roles, and tiny classifiers that predict their labels."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import tiny
import torch
from transformers import BertConfig, BertForSequenceClassification

from tasks.onboarding.propose import Proposal, Request, propose_study
from tasks.onboarding.questions import BestGuesses
from tasks.onboarding.wishes import Wishes

WORDS = {"red": "stop wait halt never", "green": "go start run always", "blue": "sky sea ice rain"}
"""Words that tell the label of a text."""
FILLER = [*"the a of and to with from this that then there here more much very still".split()]  # noqa: SIM905


def make_rows(count: int, seed: int = 0) -> pl.DataFrame:
    """Rows of known roles: id, text, second text, label, source and day.

    The first text tells the label; the second is made of other words.
    """
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        label = draw.choice(list(WORDS))
        words = [draw.choice(WORDS[label].split()) for _ in range(3)]
        words += draw.choices(FILLER, k=draw.randint(4, 9))
        draw.shuffle(words)
        rows.append(
            {
                "id": f"T-{seed}{number:04}",
                "text": " ".join(words),
                "second": " ".join(draw.choices(FILLER, k=7)),
                "label": label,
                "source": draw.choice(["shop", "phone", "letter"]),
                "day": f"2026-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
            }
        )
    return pl.DataFrame(rows)


def train_classifier(
    folder: Path,
    rows: pl.DataFrame,
    outputs: Sequence[str],
    text: Sequence[str] = ("text",),
    names: Mapping[int, str] | None = None,
    steps: int = 60,
) -> Path:
    """Train a classifier for a second; its outputs are label values in a given order.

    Args:
        folder: New folder of the model.
        rows: Rows of `make_rows`.
        outputs: Label value of each output unit.
        text: Columns that the classifier reads.
        names: Value of id2label; generic names if omitted.
        steps: Number of optimizer steps; 0 for random weights.
    """
    folder.mkdir(parents=True)
    words = [word for words in WORDS.values() for word in words.split()]
    tokenizer = tiny.write_tokenizer(folder, [*FILLER, *words], model_max_length=64)
    labels = {} if names is None else {"id2label": dict(names)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=64,
                initializer_range=0.2,
                num_labels=len(outputs),
                **labels,
            )
        ).eval()
    columns = [rows[name].to_list() for name in text]
    batch = tokenizer(*columns, return_tensors="pt", padding=True)
    targets = torch.tensor([outputs.index(label) for label in rows["label"]])
    tiny.fit(model, batch, targets, steps, rate=1e-2)
    model.save_pretrained(folder)
    return folder


def change_config(folder: Path, **entries: object) -> None:
    """Change entries of a model's configuration."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(config | entries), "utf-8")


def infer(
    model: Path | None, train: Path, queries: Path | None = None, **wishes: Sequence[str]
) -> Proposal:
    """Infer a study without a terminal."""
    request = Request(None if model is None else str(model), train, queries, Wishes(**wishes))
    return propose_study(request, BestGuesses())
