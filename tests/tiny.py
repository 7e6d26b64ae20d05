"""A study small enough to be computed by hand: a trained BERT of three layers and its tables."""

import csv
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from storage import Store
from tasks.audit.attribute import attribute_shard
from tasks.audit.check_recall import check_recall
from tasks.audit.finalize import finish_run
from tasks.audit.prepare import build_index, describe_train, factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.audit.select_k import choose_candidates
from tasks.planning.actuals import ForecastVsActual
from tasks.run.spec import list_missing_shards, open_store, plan_run

GOOD = ["good", "great", "fine", "bright", "fast"]
BAD = ["bad", "boring", "awful", "dull", "slow"]
WORDS = [*GOOD, *BAD, "film", "plot", "actor", "the", "a", "was", "is", "very", "not"]
LABELS = ["neg", "pos"]
TRAIN, QUERIES = 60, 17
LAST = ("bert.encoder.layer.2.", "bert.pooler.", "classifier.")
MAX_LENGTH = 10

SECTIONS: dict[str, dict] = {
    "": {"name": "tiny", "labels": LABELS},
    "model": {"path": "model", "max_length": MAX_LENGTH},
    "train": {"table": "train.csv", "text": "text", "label": "label", "id": "id"},
    "queries": {
        "table": "queries.csv",
        "text": "text",
        "label": "label",
        "id": "id",
        "groups": ["kind"],
    },
    "parameters": {"attributed": "last:1"},
    "curvature": {"damping": 0.01},
    "solver": {"kind": "dual"},
    "candidates": {"kind": "knn", "k": 12, "check": 0},
    "run": {"shard_size": 5, "batch_size": 16},
    "store": {"path": "store"},
}
WITH_RECALL = {"kind": "knn", "k": 12, "check": 8}
"""The candidates with their recall on eight queries, a quarter of the time of a tiny audit."""
SKETCH = {"kind": "sketch", "k": 12, "dimensions": 60, "width": 4096, "energy": 1, "check": 0}
"""Candidates by sketches without a projection of the layers."""
REPLACED = ("solver", "candidates")
"""Sections of which a change gives all keys, since another kind has other keys."""


def make(folder: Path) -> None:
    """A trained model, a base model without a head, and tables of single texts and of pairs."""
    _write_model(folder)
    _write_rows(folder / "train.csv", "train", TRAIN, seed=0)
    _write_rows(folder / "queries.csv", "query", QUERIES, seed=1)
    _train(folder)
    write_study(folder)


def make_other(folder: Path, name: str, seed: int) -> Path:
    """The same model trained on from other weights, as another seed would have left it."""
    other = Path(shutil.copytree(folder / "model", folder / name))
    model = BertForSequenceClassification.from_pretrained(other)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for tensor in model.parameters():
            tensor.data += 0.1 * torch.randn_like(tensor)
    model.save_pretrained(other)
    _train(folder, name, steps=10)
    return other


def copy(made: Path, folder: Path) -> Path:
    """A copy of a made folder, to be spoilt."""
    return Path(shutil.copytree(made, folder))


def write_study(folder: Path, name: str = "study.toml", **changes: dict | None) -> Path:
    """Write a study file; a key or section that is changed to None is left out.

    `top` stands for the keys above all sections.
    """
    changes = {{"top": ""}.get(section, section): keys for section, keys in changes.items()}
    lines = []
    for section in [*SECTIONS, *(s for s in changes if s not in SECTIONS)]:
        keys = changes.get(section, {})
        if keys is None:
            continue
        if not (section in REPLACED and keys):
            keys = {**SECTIONS.get(section, {}), **keys}
        lines += [f"[{section}]"] if section else []
        lines += [f"{key} = {_toml(v)}" for key, v in keys.items() if v is not None]
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    return json.dumps(value)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a table."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def run_directly(
    study: Path, run: str | None = None, outcome: ForecastVsActual | None = None
) -> tuple[Store, str]:
    """What the flow does, without Prefect: every step in order, in this process."""
    plan = plan_run(study, run)
    store, ref = open_store(plan), plan.ref
    describe_train.fn(ref)
    choose_damping.fn(ref)
    build_index.fn(ref)
    factor_curvature.fn(ref)
    choose_candidates.fn(ref)
    for shard in list_missing_shards(store, ref.run):
        attribute_shard.fn(shard, ref)
    finish_run.fn(ref, 1.0, check_recall.fn(ref), outcome)
    return store, ref.run


def scores_by_id(store: Store, run: str) -> pl.DataFrame:
    """The scores with ids in place of positions, ordered by them."""
    ids = [store.scan(table, run).select(key, "id") for table, key in KEYS]
    scores = store.scan("scores", run)
    for (_, key), named in zip(KEYS, ids, strict=True):
        scores = scores.join(named.rename({"id": f"{key}_id"}), on=key)
    return scores.sort("query_id", "train_id").collect()


KEYS = (("queries", "query"), ("train", "train"))


def write_tokenizer(folder: Path, words: Sequence[str], **options: int) -> BertTokenizerFast:
    """Write a tokenizer of whole words into a model's folder."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), **options)
    tokenizer.save_pretrained(folder)
    return tokenizer


def fit(model: torch.nn.Module, batch: dict, labels: torch.Tensor, steps: int, rate: float) -> None:
    """Fit a classifier to a whole table in every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()


def _write_model(folder: Path) -> None:
    model = folder / "model"
    model.mkdir(parents=True)
    tokenizer = write_tokenizer(model, WORDS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=12,
                num_hidden_layers=3,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=32,
                initializer_range=0.3,
                id2label=dict(enumerate(LABELS)),
                label2id={label: unit for unit, label in enumerate(LABELS)},
            )
        )
    untrained.save_pretrained(model)
    BertModel.from_pretrained(model).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")


def _write_rows(path: Path, prefix: str, count: int, seed: int) -> None:
    """Texts whose label follows from their words, except for some; no two are equal."""
    draw, texts = random.Random(seed), []
    while len(texts) < count:
        text = " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 12)))
        if text not in texts:
            texts.append(text)
    rows = []
    for i, text in enumerate(texts):
        words = text.split()
        good = sum(w in GOOD for w in words) > sum(w in BAD for w in words)
        wrong = draw.random() < 0.15
        kind = draw.choice(["plain", "[bold]odd[/bold]"])
        second = " ".join(draw.sample(WORDS, 3))
        rows.append(
            {
                "id": f"{prefix}-{i}",
                "text": text,
                "second": second,
                "label": LABELS[good ^ wrong],
                "kind": kind,
            }
        )
    rows[3]["id"] = f"[red]{prefix}[/]-3"
    rows[3]["text"] = "the [/] plot [bold] was fine"
    rows[4]["id"] = f"[/]{prefix}-4"
    write_rows(path, rows)


def _train(folder: Path, name: str = "model", steps: int = 40) -> None:
    model = BertForSequenceClassification.from_pretrained(folder / name).eval()
    tokenizer = BertTokenizerFast.from_pretrained(folder / name)
    rows = rows_of(folder / "train.csv")
    batch = tokenizer([row["text"] for row in rows], return_tensors="pt", padding=True)
    labels = torch.tensor([LABELS.index(row["label"]) for row in rows])
    fit(model, batch, labels, steps, rate=3e-3)
    model.save_pretrained(folder / name)
