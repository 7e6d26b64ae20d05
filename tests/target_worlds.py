"""Tiny studies whose rows are labelled with something other than one class, and their truth.

The losses are written again, a term at a time; nothing of the library is used for the truth.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import tiny
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

TAGS = ["warm", "cold", "long"]
STARS = ["one", "two", "three", "four"]
LEVELS = (0, 0.2, 0.5)
ROWS, QUERIES = 40, 9
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class World:
    """A kind of target: columns of the tables, the study's sections, and the loss of a row.

    Attributes:
        columns: Target columns of a table, from the hidden number of each row.
        study: Changes of the study.
        outputs: Number of outputs of the model.
        problem: `problem_type` of the model's configuration.
        names: Names of the outputs.
        target: Target of a row of a table, as a tensor.
        loss: Loss of a row without its weight.
        query_loss: Loss of a query; that of a training row if it is the same.
    """

    columns: Callable[[list[float]], dict[str, list]]
    study: dict
    outputs: int
    problem: str | None
    names: list[str]
    target: Callable[[dict], Tensor]
    loss: Loss
    query_loss: Loss | None = None


def softmax_loss(outputs: Tensor, shares: Tensor) -> Tensor:
    return -(shares * (outputs - torch.logsumexp(outputs, 0))).sum()


def binary_loss(outputs: Tensor, yes: Tensor) -> Tensor:
    chance = 1 / (1 + torch.exp(-outputs))
    return -(yes * torch.log(chance) + (1 - yes) * torch.log(1 - chance)).mean()


def squared_loss(outputs: Tensor, target: Tensor) -> Tensor:
    return ((outputs - target) ** 2).mean()


def huber_loss(outputs: Tensor, target: Tensor) -> Tensor:
    gap = (outputs - target).abs()[0]
    return gap**2 / 2 if gap <= 0.5 else 0.5 * (gap - 0.25)


def threshold_loss(outputs: Tensor, rank: Tensor) -> Tensor:
    signs = torch.tensor([1.0 if int(rank) > k else -1.0 for k in range(len(outputs))])
    return torch.log(1 + torch.exp(-signs.to(outputs.dtype) * outputs)).sum()


def _one_hot(place: int, count: int) -> Tensor:
    return torch.tensor([float(place == k) for k in range(count)], dtype=torch.float64)


def _share(value: float) -> float:
    return round(1 / (1 + math.exp(-value)), 3)


WORLDS = {
    "multi-label": World(
        lambda v: {
            "label": [
                "|".join(n for n, low in zip(TAGS, (0, -9, 0.5), strict=True) if x > low) for x in v
            ]
        },
        {"top": {"target": "multi-label", "labels": TAGS}, "loss": {}},
        3,
        "multi_label_classification",
        TAGS,
        lambda row: torch.tensor([float(n in row["label"].split("|")) for n in TAGS]).double(),
        binary_loss,
    ),
    "multi-label columns": World(
        lambda v: {
            n: [int(x > low) for x in v] for n, low in zip(TAGS, (0, 0.2, 0.5), strict=True)
        },
        {
            "top": {"target": "multi-label", "labels": TAGS},
            "train": {"label": None, "labels": TAGS},
            "queries": {"label": None, "labels": TAGS},
        },
        3,
        "multi_label_classification",
        TAGS,
        lambda row: torch.tensor([float(row[n]) for n in TAGS]).double(),
        binary_loss,
    ),
    "number": World(
        lambda v: {"label": [round(x, 3) for x in v]},
        {"top": {"target": "number", "labels": None}},
        1,
        "regression",
        ["label"],
        lambda row: torch.tensor([float(row["label"])]).double(),
        squared_loss,
    ),
    "huber": World(
        lambda v: {"label": [round(3 * x, 3) for x in v]},
        {
            "top": {"target": "number", "labels": None},
            "loss": {"kind": "huber", "huber_delta": 0.5},
        },
        1,
        "regression",
        ["label"],
        lambda row: torch.tensor([float(row["label"])]).double(),
        huber_loss,
    ),
    "soft-label": World(
        lambda v: {"no": [1 - _share(x) for x in v], "yes": [_share(x) for x in v]},
        {
            "top": {"target": "soft-label", "labels": ["no", "yes"]},
            "train": {"label": None, "labels": ["no", "yes"]},
            "queries": {"label": None, "labels": ["no", "yes"]},
        },
        2,
        None,
        ["no", "yes"],
        lambda row: torch.tensor([float(row["no"]), float(row["yes"])]).double(),
        softmax_loss,
    ),
    "ordinal": World(
        lambda v: {"label": [STARS[(x > -0.4) + (x > 0.1) + (x > 0.6)] for x in v]},
        {"top": {"target": "ordinal", "labels": STARS}, "loss": {"kind": "ordinal"}},
        3,
        None,
        ["a", "b", "c"],
        lambda row: torch.tensor(STARS.index(row["label"])),
        threshold_loss,
    ),
    "ordinal by squared error": World(
        lambda v: {"label": [STARS[(x > -0.4) + (x > 0.1) + (x > 0.6)] for x in v]},
        {"top": {"target": "ordinal", "labels": STARS}, "loss": {"kind": "squared"}},
        1,
        "regression",
        ["a"],
        lambda row: torch.tensor([float(STARS.index(row["label"]))]).double(),
        squared_loss,
    ),
    "weights": World(
        lambda v: {
            "label": [tiny.LABELS[int(x > 0)] for x in v],
            "weight": [round(abs(x) + 0.1, 3) for x in v],
        },
        {"train": {"weight": "weight"}, "loss": {"label_smoothing": 0.1}},
        2,
        None,
        tiny.LABELS,
        lambda row: _one_hot(tiny.LABELS.index(row["label"]), 2),
        lambda z, shares: softmax_loss(z, 0.9 * shares + 0.05),
        softmax_loss,
    ),
}


def make_world(folder: Path, world: World) -> None:
    """Write tables of the kind, and a model that was trained on them."""
    tiny.make(folder)
    draw = random.Random(3)
    for name in ("train", "queries"):
        rows = pl.read_csv(folder / f"{name}.csv").head(ROWS if name == "train" else QUERIES)
        good = [sum(word in tiny.GOOD for word in text.split()) for text in rows["text"]]
        bad = [sum(word in tiny.BAD for word in text.split()) for text in rows["text"]]
        hidden = [0.4 * (a - b) + draw.gauss(0, 0.5) for a, b in zip(good, bad, strict=True)]
        values = world.columns(hidden)
        rows = rows.drop("label").with_columns(pl.Series(n, v) for n, v in values.items())
        rows.write_csv(folder / f"{name}.csv")
    _write_model(folder, world)


def read_rows(folder: Path, name: str) -> list[dict]:
    return pl.read_csv(folder / f"{name}.csv").to_dicts()


def _write_model(folder: Path, world: World) -> None:
    """The tiny model with a head of the kind, fitted for a few steps."""
    config = BertConfig.from_pretrained(folder / "model")
    config.id2label = dict(enumerate(world.names))
    config.label2id = {name: unit for unit, name in enumerate(world.names)}
    config.problem_type = world.problem
    model = BertForSequenceClassification.from_pretrained(
        folder / "model", config=config, ignore_mismatched_sizes=True
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.classifier.reset_parameters()
    tokenizer = BertTokenizerFast.from_pretrained(folder / "model")
    rows = read_rows(folder, "train")
    batch = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        outputs = model(**batch).logits
        pairs = zip(outputs, rows, strict=True)
        losses = [world.loss(z, world.target(row).to(z.dtype)) for z, row in pairs]
        torch.stack(losses).mean().backward()
        optimizer.step()
    model.save_pretrained(folder / "model")
