"""Folders that the cases spoil: a tiny study of texts and a study of a table, with their stores."""

import csv
import random
import shutil
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

GOOD = ["good", "great", "fine", "bright", "fast"]
BAD = ["bad", "boring", "awful", "dull", "slow"]
WORDS = [*GOOD, *BAD, "film", "plot", "actor", "the", "a", "was", "is", "very", "not"]
LABELS = ["neg", "pos"]
STUDY = """name = "tiny"
labels = ["neg", "pos"]
[model]
path = "model"
max_length = 16
[train]
table = "train.csv"
text = "text"
label = "label"
id = "id"
groups = ["source"]
[queries]
table = "queries.csv"
text = "text"
label = "label"
id = "id"
groups = ["source"]
[parameters]
attributed = "last:1"
[curvature]
damping = 0.1
[solver]
kind = "dual"
[candidates]
kind = "full"
[run]
shard_size = 6
[store]
path = "store"
"""
TABLE_STUDY = """name = "table"
labels = ["a", "b"]
[train]
table = "t.csv"
features = ["x", "y"]
label = "label"
[store]
path = "store"
"""


def make_folders(root: Path, audit: bool = True) -> None:
    """Make the folders "fresh", "audited", "searched" and "table" below a root.

    Args:
        root: New folder.
        audit: Whether to make "audited" and "searched", which takes an audit.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    fresh, table = root / "fresh", root / "table"
    fresh.mkdir(parents=True)
    table.mkdir()
    write_texts(fresh / "train.csv", "r", 60, 0)
    write_texts(fresh / "queries.csv", "q", 12, 1)
    (fresh / "study.toml").write_text(STUDY, "utf-8")
    write_model(fresh)
    write_table(table / "t.csv", 80)
    (table / "study.toml").write_text(TABLE_STUDY, "utf-8")
    if audit:
        audited = Path(shutil.copytree(fresh, root / "audited"))
        run_audit(audited / "study.toml")
        searched = Path(shutil.copytree(audited, root / "searched"))
        from tasks.mislabels.detect import detect_mislabels

        detect_mislabels.fn(str(searched / "study.toml"))


def run_audit(study: Path) -> None:
    """Compute an audit in this process, without Prefect."""
    from tasks.audit.attribute import attribute_shard
    from tasks.audit.check_recall import check_recall
    from tasks.audit.finalize import finish_run
    from tasks.audit.prepare import build_index, describe_train, factor_curvature
    from tasks.audit.select_damping import choose_damping
    from tasks.audit.select_k import choose_candidates
    from tasks.run.spec import list_missing_shards, open_store, plan_run

    plan = plan_run(study)
    store, ref = open_store(plan), plan.ref
    for step in (describe_train, choose_damping, build_index, factor_curvature, choose_candidates):
        step.fn(ref)
    for shard in list_missing_shards(store, ref.run):
        attribute_shard.fn(shard, ref)
    finish_run.fn(ref, 1.0, check_recall.fn(ref), None)


def write_texts(path: Path, prefix: str, count: int, seed: int) -> None:
    """Write a table of texts whose label follows from their words, except for a tenth."""
    draw, rows = random.Random(seed), []
    texts: set[str] = set()
    while len(rows) < count:
        text = " ".join(draw.choice(WORDS) for _ in range(draw.randint(4, 9)))
        good = sum(w in GOOD for w in text.split()) - sum(w in BAD for w in text.split())
        if good == 0 or text in texts:
            continue
        texts.add(text)
        label = LABELS[(good > 0) ^ (draw.random() < 0.1)]
        source = draw.choice("ab")
        rows.append({"id": f"{prefix}{len(rows)}", "text": text, "label": label, "source": source})
    write_rows(path, rows)


def write_table(path: Path, count: int) -> None:
    """Write a table of two numbers whose label is the sign of the first, except for a tenth."""
    draw, rows = random.Random(2), []
    for _ in range(count):
        label = draw.random() < 0.5
        x = draw.gauss(3.0 if label else -3.0, 1.0)
        name = "ab"[label ^ (draw.random() < 0.1)]
        rows.append({"x": f"{x:.3f}", "y": f"{draw.gauss(0, 1):.3f}", "label": name})
    write_rows(path, rows)


def write_model(folder: Path) -> None:
    """Write a tokenizer and a BERT of two layers, fine-tuned on the folder's training table."""
    model_folder = folder / "model"
    model_folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (model_folder / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    tokenizer = BertTokenizerFast(str(model_folder / "vocab.txt"))
    tokenizer.save_pretrained(model_folder)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=32,
            initializer_range=0.3,
            id2label=dict(enumerate(LABELS)),
            label2id={label: unit for unit, label in enumerate(LABELS)},
        )
    ).eval()
    rows = read_rows(folder / "train.csv")
    batch = tokenizer([row["text"] for row in rows], return_tensors="pt", padding=True)
    labels = torch.tensor([LABELS.index(row["label"]) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(model_folder)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as a CSV table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
